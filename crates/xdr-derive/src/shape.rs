//! What a Rust type is in XDR.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, Ident, Member, Result, Variant};

/// A type of the XDR language.
pub(crate) enum Shape<'a> {
    Structure(&'a Fields),
    /// Each name with its value.
    Enumeration(Vec<(&'a Ident, &'a Expr)>),
    Union(Vec<Arm<'a>>),
}

/// One arm of a discriminated union.
pub(crate) struct Arm<'a> {
    pub name: &'a Ident,
    /// The discriminant; `None` for the default arm, whose first field holds it.
    pub case: Option<Expr>,
    pub fields: &'a Fields,
}

impl<'a> Shape<'a> {
    pub(crate) fn of(input: &'a DeriveInput) -> Result<Self> {
        match &input.data {
            Data::Struct(data) => Ok(Self::Structure(&data.fields)),
            Data::Union(_) => {
                Err(Error::new(input.span(), "a discriminated union of XDR is an enum in Rust"))
            }
            Data::Enum(data) => {
                let marked = |v: &Variant| v.attrs.iter().any(|a| a.path().is_ident("xdr"));
                if data.variants.iter().any(|v| marked(v) || !v.fields.is_empty()) {
                    union(data.variants.iter())
                } else {
                    enumeration(data.variants.iter())
                }
            }
        }
    }
}

/// `fields` bound to names that a pattern introduces: the pattern's inside and the names.
pub(crate) fn bind(fields: &Fields) -> (TokenStream, Vec<Ident>) {
    let names: Vec<Ident> = (0..fields.len()).map(|n| format_ident!("field{n}")).collect();
    let members: Vec<Member> = fields.members().collect();
    (quote!({ #(#members: #names,)* }), names)
}

/// How an error calls a field.
pub(crate) fn label(of: &str, member: &Member) -> String {
    match member {
        Member::Named(name) => format!("{of}.{name}"),
        Member::Unnamed(index) => format!("{of}.{}", index.index),
    }
}

fn enumeration<'a>(variants: impl Iterator<Item = &'a Variant>) -> Result<Shape<'a>> {
    let values = variants.map(|variant| match &variant.discriminant {
        Some((_, value)) => Ok((&variant.ident, value)),
        None => Err(Error::new(
            variant.span(),
            "a variant of an XDR enumeration needs its value (`Name = 1`); an arm of a union \
             needs `#[xdr(case = …)]` or `#[xdr(default)]`",
        )),
    });
    Ok(Shape::Enumeration(values.collect::<Result<_>>()?))
}

fn union<'a>(variants: impl Iterator<Item = &'a Variant>) -> Result<Shape<'a>> {
    let arms: Vec<Arm<'a>> = variants.map(arm).collect::<Result<_>>()?;
    let mut defaults = arms.iter().enumerate().filter(|(_, arm)| arm.case.is_none());
    if let Some((position, arm)) = defaults.next() {
        if position + 1 != arms.len() {
            return Err(Error::new(arm.name.span(), "the default arm comes last"));
        }
        if arm.fields.is_empty() {
            return Err(Error::new(
                arm.name.span(),
                "the first field of the default arm keeps the discriminant",
            ));
        }
    }
    Ok(Shape::Union(arms))
}

fn arm(variant: &Variant) -> Result<Arm<'_>> {
    let mut case = None;
    let mut default = false;
    for attribute in variant.attrs.iter().filter(|a| a.path().is_ident("xdr")) {
        read_attribute(attribute, &mut case, &mut default)?;
    }
    if case.is_some() == default {
        return Err(Error::new(
            variant.span(),
            "an arm of an XDR union needs either `#[xdr(case = …)]` or `#[xdr(default)]`",
        ));
    }
    Ok(Arm { name: &variant.ident, case, fields: &variant.fields })
}

fn read_attribute(
    attribute: &Attribute,
    case: &mut Option<Expr>,
    default: &mut bool,
) -> Result<()> {
    attribute.parse_nested_meta(|meta| {
        if meta.path.is_ident("case") && case.is_none() {
            *case = Some(meta.value()?.parse()?);
            Ok(())
        } else if meta.path.is_ident("default") && !*default {
            *default = true;
            Ok(())
        } else {
            Err(meta.error("expected `case = …` or `default`, once"))
        }
    })
}
