//! The `Encode` derive.

use crate::shape::{Arm, Shape, bind};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Expr, Ident, Result, parse_quote};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    let (body, discriminant) = match Shape::of(input)? {
        Shape::Structure(fields) => {
            let (pattern, names) = bind(fields);
            let body = quote! {
                let Self #pattern = self;
                #(::holm_xdr::Encode::encode(#names, out);)*
            };
            (body, None)
        }
        Shape::Enumeration(values) => (
            quote!(out.i32(::holm_xdr::Discriminant::to_wire(*self));),
            Some(discriminant(name, &values)),
        ),
        Shape::Union(arms) => {
            let arms = arms.iter().map(arm);
            (quote!(match self { #(#arms)* }), None)
        }
    };

    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::holm_xdr::Encode));
    }
    let (of_impl, of_type, bounds) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #of_impl ::holm_xdr::Encode for #name #of_type #bounds {
            #[inline]
            #[allow(unused_variables)] // of an empty structure
            fn encode(&self, out: &mut ::holm_xdr::Encoder) {
                #body
            }
        }
        #discriminant
    })
}

fn arm(arm: &Arm<'_>) -> TokenStream {
    let name = arm.name;
    let (pattern, names) = bind(arm.fields);
    match (&arm.case, names.split_first()) {
        (None, Some((tag, rest))) => quote! {
            Self::#name #pattern => {
                out.i32(::holm_xdr::Discriminant::to_wire(*#tag));
                #(::holm_xdr::Encode::encode(#rest, out);)*
            }
        },
        (case, _) => quote! {
            Self::#name #pattern => {
                out.i32((#case) as i32);
                #(::holm_xdr::Encode::encode(#names, out);)*
            }
        },
    }
}

fn discriminant(name: &Ident, values: &[(&Ident, &Expr)]) -> TokenStream {
    let names: Vec<_> = values.iter().map(|(name, _)| name).collect();
    quote! {
        #[automatically_derived]
        impl ::holm_xdr::Discriminant for #name {
            #[inline]
            fn from_wire(value: i32) -> ::core::option::Option<Self> {
                #(if value == Self::#names as i32 {
                    return ::core::option::Option::Some(Self::#names);
                })*
                ::core::option::Option::None
            }
            #[inline]
            fn to_wire(self) -> i32 {
                self as i32
            }
        }
    }
}
