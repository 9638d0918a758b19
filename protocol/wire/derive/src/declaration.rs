//! What a declaration says: attributes to plain values, with an error at the place that is wrong.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Expr, Fields, GenericParam, Ident, Lifetime, LitInt, Result, Type};

/// A struct that is a message or a part of one.
pub(crate) struct Declaration {
    pub(crate) name: Ident,
    /// Its one lifetime, if it borrows.
    pub(crate) lifetime: Option<Lifetime>,
    /// Of a whole message.
    pub(crate) root: Option<Root>,
    pub(crate) fields: Vec<Field>,
}

/// What the message itself says.
pub(crate) struct Root {
    pub(crate) api: Ident,
    pub(crate) oldest: LitInt,
    pub(crate) newest: LitInt,
    /// The first flexible version.
    pub(crate) flexible: Option<LitInt>,
}

/// One field.
pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) versions: Versions,
    /// `None`: never null.
    pub(crate) nullable: Option<Versions>,
    /// Written as an expression of the field's type.
    pub(crate) default: TokenStream,
    pub(crate) tag: Option<LitInt>,
    pub(crate) ignorable: bool,
}

/// A range of versions; an end that is absent is open.
#[derive(Default)]
pub(crate) struct Versions {
    oldest: Option<LitInt>,
    newest: Option<LitInt>,
}

impl Versions {
    /// Whether every version is meant.
    pub(crate) fn all(&self) -> bool {
        self.oldest.is_none() && self.newest.is_none()
    }

    /// The condition that `form.version` lies inside.
    pub(crate) fn contain(&self) -> TokenStream {
        match (&self.oldest, &self.newest) {
            (None, None) => quote!(true),
            (Some(oldest), None) => quote!(form.version >= #oldest),
            (None, Some(newest)) => quote!(form.version <= #newest),
            (Some(oldest), Some(newest)) => quote!((form.version >= #oldest && form.version <= #newest)),
        }
    }

    fn parse(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let input = meta.value()?;
        let oldest = if input.peek(LitInt) { Some(input.parse()?) } else { None };
        if input.peek(syn::Token![..=]) {
            input.parse::<syn::Token![..=]>()?;
            return Ok(Self { oldest, newest: Some(input.parse()?) });
        }
        if !input.peek(syn::Token![..]) || input.peek(syn::Token![...]) {
            return Err(input.error("versions are a range: `3..`, `3..=9` or `..=9`"));
        }
        input.parse::<syn::Token![..]>()?;
        if input.peek(LitInt) {
            return Err(input.error("the last version is named: `..=9`, not `..10`"));
        }
        Ok(Self { oldest, newest: None })
    }
}

impl Declaration {
    /// Reads a struct with named fields and at most one lifetime.
    pub(crate) fn parse(input: DeriveInput) -> Result<Self> {
        let mut lifetime = None;
        for parameter in &input.generics.params {
            match parameter {
                GenericParam::Lifetime(found) if lifetime.is_none() => {
                    lifetime = Some(found.lifetime.clone());
                }
                other => {
                    return Err(Error::new(other.span(), "a message has one lifetime at most and no types"));
                }
            }
        }
        let root = Root::parse(&input)?;
        let Data::Struct(data) = input.data else {
            return Err(Error::new(input.ident.span(), "a message is a struct"));
        };
        let Fields::Named(named) = data.fields else {
            return Err(Error::new(input.ident.span(), "the fields of a message have names"));
        };
        let fields = named.named.into_iter().map(Field::parse).collect::<Result<Vec<_>>>()?;
        let mut tags = BTreeSet::new();
        for tag in fields.iter().filter_map(|field| field.tag.as_ref()) {
            if !tags.insert(tag.base10_parse::<u32>()?) {
                return Err(Error::new(tag.span(), "another field has this tag"));
            }
        }
        Ok(Self { name: input.ident, lifetime, root, fields })
    }
}

impl Root {
    fn parse(input: &DeriveInput) -> Result<Option<Self>> {
        let (mut api, mut versions, mut flexible) = (None, None, None);
        let mut said = None;
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("kafka")) {
            said = Some(attribute.span());
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("api") {
                    api = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("versions") {
                    versions = Some(Versions::parse(&meta)?);
                } else if meta.path.is_ident("flexible") {
                    flexible = Some(Versions::parse(&meta)?);
                } else {
                    return Err(meta.error("a message knows `api`, `versions` and `flexible`"));
                }
                Ok(())
            })?;
        }
        let Some(said) = said else { return Ok(None) };
        let api = api.ok_or_else(|| Error::new(said, "which `api` is it?"))?;
        let Some(Versions { oldest: Some(oldest), newest: Some(newest) }) = versions else {
            return Err(Error::new(said, "a message names both ends of its `versions`: `versions = 0..=4`"));
        };
        let flexible = match flexible {
            None => None,
            Some(Versions { oldest: Some(first), newest: None }) => Some(first),
            Some(_) => {
                return Err(Error::new(said, "`flexible` has a first version and no last: `flexible = 9..`"));
            }
        };
        Ok(Some(Self { api, oldest, newest, flexible }))
    }
}

impl Field {
    fn parse(field: syn::Field) -> Result<Self> {
        let span = field.ty.span();
        let optional = is_option(&field.ty);
        let name = field.ident.ok_or_else(|| Error::new(span, "the fields of a message have names"))?;
        let (mut versions, mut nullable, mut default, mut tag) = (Versions::default(), None, None, None);
        let mut ignorable = false;
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("kafka")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("versions") {
                    versions = Versions::parse(&meta)?;
                } else if meta.path.is_ident("nullable") {
                    let always = !meta.input.peek(syn::Token![=]);
                    nullable = Some(if always { Versions::default() } else { Versions::parse(&meta)? });
                } else if meta.path.is_ident("default") {
                    default = Some(meta.value()?.parse::<Expr>()?.into_token_stream());
                } else if meta.path.is_ident("tag") {
                    tag = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("ignorable") {
                    ignorable = true;
                } else {
                    return Err(
                        meta.error("a field knows `versions`, `nullable`, `default`, `tag` and `ignorable`")
                    );
                }
                Ok(())
            })?;
        }
        match (optional, &nullable) {
            (true, None) => {
                return Err(Error::new(span, "an `Option` says when it may be null: `nullable = 1..`"));
            }
            (false, Some(_)) => return Err(Error::new(span, "what may be null is an `Option`")),
            _ => {}
        }
        let default = default.unwrap_or_else(|| {
            if optional {
                quote!(::core::option::Option::Some(::core::default::Default::default()))
            } else {
                quote!(::core::default::Default::default())
            }
        });
        Ok(Self { name, ty: field.ty, versions, nullable, default, tag, ignorable })
    }
}

fn is_option(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Declaration> {
        Declaration::parse(syn::parse_str(text).expect("Rust"))
    }

    #[test]
    fn a_wrong_declaration_is_told_what_is_wrong() {
        let table = [
            ("enum A { B }", "a message is a struct"),
            ("struct A(i32);", "the fields of a message have names"),
            ("struct A<T> { b: T }", "one lifetime at most and no types"),
            ("struct A<'a, 'b> { c: &'a str, d: &'b str }", "one lifetime at most and no types"),
            ("struct A { b: Option<i32> }", "an `Option` says when it may be null: `nullable = 1..`"),
            ("struct A { #[kafka(nullable)] b: i32 }", "what may be null is an `Option`"),
            ("struct A { #[kafka(since = 3)] b: i32 }", "a field knows `versions`, `nullable`"),
            ("struct A { #[kafka(versions = 3)] b: i32 }", "versions are a range: `3..`, `3..=9` or `..=9`"),
            (
                "struct A { #[kafka(versions = 3..9)] b: i32 }",
                "the last version is named: `..=9`, not `..10`",
            ),
            ("struct A { #[kafka(tag = 1)] b: i32, #[kafka(tag = 1)] c: i32 }", "another field has this tag"),
            ("#[kafka(versions = 0..=1)] struct A {}", "which `api` is it?"),
            ("#[kafka(api = Fetch, versions = 4..)] struct A {}", "names both ends of its `versions`"),
            (
                "#[kafka(api = Fetch, versions = 4..=9, flexible = 5..=6)] struct A {}",
                "a first version and no last",
            ),
            ("#[kafka(key = 1)] struct A {}", "a message knows `api`, `versions` and `flexible`"),
        ];
        for (declaration, expected) in table {
            let error = parse(declaration).err().unwrap_or_else(|| panic!("{declaration} was taken"));
            assert!(error.to_string().contains(expected), "{declaration}: {error}");
        }
    }

    #[test]
    fn what_a_field_does_not_say_holds_in_every_version() {
        let declaration = parse("struct A<'a> { #[kafka(nullable)] b: Option<&'a str>, c: i32 }").unwrap();
        assert!(declaration.root.is_none());
        for field in &declaration.fields {
            assert!(field.versions.all() && field.tag.is_none() && !field.ignorable);
        }
        assert!(declaration.fields[0].nullable.as_ref().is_some_and(Versions::all));
    }
}
