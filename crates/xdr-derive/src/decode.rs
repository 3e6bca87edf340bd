//! The `Decode` derive.

use crate::shape::{Arm, Shape, label};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Fields, Ident, Lifetime, Member, Result, parse_quote};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    let body = match Shape::of(input)? {
        Shape::Structure(fields) => {
            let fields = decoded(&name.to_string(), fields.members());
            quote!(::core::result::Result::Ok(Self { #fields }))
        }
        Shape::Enumeration(_) => {
            let label = name.to_string();
            quote!(input.discriminant::<Self>().map_err(|error| error.within(#label)))
        }
        Shape::Union(arms) => union(name, &arms),
    };

    let mut generics = input.generics.clone();
    let lifetime = match generics.lifetimes().next() {
        Some(parameter) => parameter.lifetime.clone(),
        None => {
            let lifetime: Lifetime = parse_quote!('xdr);
            generics.params.insert(0, parse_quote!(#lifetime));
            lifetime
        }
    };
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::holm_xdr::Decode<#lifetime>));
    }
    let (of_impl, _, bounds) = generics.split_for_impl();
    let (_, of_type, _) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #of_impl ::holm_xdr::Decode<#lifetime> for #name #of_type #bounds {
            #[inline]
            #[allow(unused_variables)] // of an empty structure
            fn decode(
                input: &mut ::holm_xdr::Decoder<#lifetime>,
            ) -> ::core::result::Result<Self, ::holm_xdr::Error> {
                #body
            }
        }
    })
}

fn union(name: &Ident, arms: &[Arm<'_>]) -> TokenStream {
    let tag = format!("{name} (discriminant)");
    let mut cases = TokenStream::new();
    let mut otherwise = quote! {
        ::core::result::Result::Err(before.unknown(tag).within(#tag))
    };
    for Arm { name: variant, case, fields } in arms {
        let of = format!("{name}::{variant}");
        match case {
            Some(case) => {
                let fields = decoded(&of, fields.members());
                cases.extend(quote! {
                    if tag == (#case) as i32 {
                        return ::core::result::Result::Ok(Self::#variant { #fields });
                    }
                });
            }
            None => {
                let keeps = fields.members().next();
                let rest = decoded_rest(&of, fields);
                otherwise = quote! {
                    ::core::result::Result::Ok(Self::#variant {
                        #keeps: ::holm_xdr::Discriminant::from_wire(tag)
                            .ok_or_else(|| before.unknown(tag).within(#tag))?,
                        #rest
                    })
                };
            }
        }
    }
    quote! {
        let before = input.clone();
        let tag = input.i32().map_err(|error| error.within(#tag))?;
        #cases
        #otherwise
    }
}

fn decoded_rest(of: &str, fields: &Fields) -> TokenStream {
    decoded(of, fields.members().skip(1))
}

/// `field: decoded,` for each of `members`.
fn decoded(of: &str, members: impl Iterator<Item = Member>) -> TokenStream {
    members
        .map(|member| {
            let label = label(of, &member);
            quote! {
                #member: ::holm_xdr::Decode::decode(input)
                    .map_err(|error| error.within(#label))?,
            }
        })
        .collect()
}
