//! `#[derive(Encode, Decode)]` for the traits of `holm-xdr`, so that a protocol in Rust reads like
//! its description in the XDR language (RFC 4506, section 6).
//!
//! Use them through `holm_xdr`, which exports them beside the traits. What becomes of what:
//!
//! | Rust | XDR |
//! |---|---|
//! | a struct | a structure: its fields in order |
//! | an enum of unit variants with values, `Read = 6` | an enumeration; a value that has no variant is an error |
//! | an enum whose variants carry `#[xdr(case = V)]` | a discriminated union; `V` is a constant that can be cast to `i32` |
//! | its variant `#[xdr(default)] Name(Tag, …)` | the default arm; its first field keeps the discriminant and is a `Discriminant` |
//!
//! Type parameters must be `Encode` (`Decode`) themselves. A struct with a lifetime borrows from
//! what it is decoded from.

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod shape;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `holm_xdr::Encode`; for an enumeration `holm_xdr::Discriminant` too.
#[proc_macro_derive(Encode, attributes(xdr))]
pub fn derive_encode(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    encode::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Derives `holm_xdr::Decode`. An enumeration must derive `Encode` as well, which says what its
/// values are.
#[proc_macro_derive(Decode, attributes(xdr))]
pub fn derive_decode(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    decode::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
