//! From a declaration to the code that reads and writes it.

use proc_macro2::TokenStream;
use quote::quote;

use crate::declaration::{Declaration, Field, Root};

/// Everything that is derived.
pub(crate) fn expand(declaration: &Declaration) -> TokenStream {
    let name = &declaration.name;
    let (own, field_lifetime) = match &declaration.lifetime {
        Some(lifetime) => (quote!(<#lifetime>), quote!(#lifetime)),
        None => (quote!(), quote!('de)),
    };
    let generics = quote!(<#field_lifetime>);
    let defaults = declaration.fields.iter().map(|field| {
        let (name, default) = (&field.name, &field.default);
        quote!(#name: #default)
    });
    let size_min = size_min(&declaration.fields);
    let read = read(&declaration.fields);
    let write = write(&declaration.fields, &name.to_string());
    let specimen = specimen(&declaration.fields);
    let last = match &declaration.root {
        Some(root) => message(root, &generics, &quote!(#name #own)),
        None => nullable(&field_lifetime, &generics, &quote!(#name #own)),
    };
    quote! {
        #[automatically_derived]
        impl #own ::core::default::Default for #name #own {
            fn default() -> Self {
                Self { #(#defaults),* }
            }
        }

        #[automatically_derived]
        impl #generics ::folio_wire::kafka::Field #generics for #name #own {
            fn size_min(form: ::folio_wire::kafka::Form) -> usize {
                #size_min
            }

            fn read(
                reader: &mut ::folio_wire::kafka::Reader #generics,
                form: ::folio_wire::kafka::Form,
            ) -> ::core::result::Result<Self, ::folio_wire::kafka::DecodeError> {
                #read
            }

            fn write(&self, writer: &mut ::folio_wire::kafka::Writer, form: ::folio_wire::kafka::Form) {
                #write
            }
        }

        #last

        #[cfg(test)]
        impl #own ::folio_wire::kafka::specimen::Specimen for #name #own {
            #specimen
        }
    }
}

fn message(root: &Root, generics: &TokenStream, this: &TokenStream) -> TokenStream {
    let Root { api, oldest, newest, flexible } = root;
    let flexible = match flexible {
        Some(first) => quote!(::core::option::Option::Some(#first)),
        None => quote!(::core::option::Option::None),
    };
    quote! {
        #[automatically_derived]
        impl #generics ::folio_wire::kafka::Message #generics for #this {
            const API: ::folio_wire::kafka::ApiKey = ::folio_wire::kafka::ApiKey::#api;
            const VERSIONS: ::folio_wire::kafka::Versions =
                ::folio_wire::kafka::Versions { oldest: #oldest, newest: #newest };
            const FLEXIBLE_FROM: ::core::option::Option<i16> = #flexible;
        }
    }
}

/// A struct that may be absent has a byte in front that says so.
fn nullable(lifetime: &TokenStream, generics: &TokenStream, this: &TokenStream) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl #generics ::folio_wire::kafka::Nullable #generics for #this {
            fn size_null(_: ::folio_wire::kafka::Form) -> usize {
                1
            }

            fn read_nullable(
                reader: &mut ::folio_wire::kafka::Reader<#lifetime>,
                form: ::folio_wire::kafka::Form,
            ) -> ::core::result::Result<::core::option::Option<Self>, ::folio_wire::kafka::DecodeError> {
                if reader.i8()? < 0 {
                    return ::core::result::Result::Ok(::core::option::Option::None);
                }
                <Self as ::folio_wire::kafka::Field #generics>::read(reader, form).map(::core::option::Option::Some)
            }

            fn write_nullable(
                this: ::core::option::Option<&Self>,
                writer: &mut ::folio_wire::kafka::Writer,
                form: ::folio_wire::kafka::Form,
            ) {
                match this {
                    ::core::option::Option::None => writer.put_i8(-1),
                    ::core::option::Option::Some(this) => {
                        writer.put_i8(1);
                        ::folio_wire::kafka::Field::write(this, writer, form);
                    }
                }
            }
        }
    }
}

fn size_min(fields: &[Field]) -> TokenStream {
    let sizes = fields.iter().filter(|field| field.tag.is_none()).map(|field| {
        let (ty, form) = (&field.ty, form_of(field));
        let size = quote!(<#ty as ::folio_wire::kafka::Field<'_>>::size_min(#form));
        if field.versions.all() {
            return size;
        }
        let present = field.versions.contain();
        quote!(if #present { #size } else { 0 })
    });
    // In flexible versions the count of tagged fields closes the struct.
    quote!(0 #(+ (#sizes))* + usize::from(form.flexible))
}

fn read(fields: &[Field]) -> TokenStream {
    let values = fields.iter().map(|field| {
        let (name, default, form) = (&field.name, &field.default, form_of(field));
        if field.tag.is_some() {
            return quote!(#name: #default);
        }
        let read = quote!(::folio_wire::kafka::Field::read(reader, #form)?);
        if field.versions.all() {
            return quote!(#name: #read);
        }
        let present = field.versions.contain();
        quote!(#name: if #present { #read } else { #default })
    });
    let arms: Vec<_> = fields
        .iter()
        .filter_map(|field| {
            let (name, tag, form) = (&field.name, field.tag.as_ref()?, form_of(field));
            let present = field.versions.contain();
            Some(quote! {
                #tag if #present => {
                    this.#name = ::folio_wire::kafka::Field::read(&mut value, #form)?;
                    value.expect_end()?;
                }
            })
        })
        .collect();
    if arms.is_empty() {
        return quote! {
            let this = Self { #(#values),* };
            if form.flexible {
                reader.skip_tagged()?;
            }
            ::core::result::Result::Ok(this)
        };
    }
    quote! {
        let mut this = Self { #(#values),* };
        if form.flexible {
            for _ in 0..reader.tagged_count()? {
                let (tag, mut value) = reader.tagged()?;
                match tag {
                    #(#arms)*
                    _ => {}
                }
            }
        }
        ::core::result::Result::Ok(this)
    }
}

fn write(fields: &[Field], message: &str) -> TokenStream {
    let plain = fields.iter().map(|field| {
        let (name, default, form) = (&field.name, &field.default, form_of(field));
        let full_name = format!("{message}.{name}");
        let refuse = quote! {
            if ::folio_wire::kafka::field::differs(&self.#name, &#default) {
                writer.refuse(#full_name, form.version);
            }
        };
        let present = present(field);
        if field.tag.is_some() {
            return if field.ignorable { quote!() } else { quote!(if !#present { #refuse }) };
        }
        let write = quote!(::folio_wire::kafka::Field::write(&self.#name, writer, #form););
        match (field.versions.all(), field.ignorable) {
            (true, _) => write,
            (false, true) => quote!(if #present { #write }),
            (false, false) => quote!(if #present { #write } else { #refuse }),
        }
    });
    let tagged: Vec<_> = fields.iter().filter(|field| field.tag.is_some()).collect();
    let is_set: Vec<_> = tagged
        .iter()
        .map(|field| {
            let (name, default, present) = (&field.name, &field.default, field.versions.contain());
            quote!(#present && ::folio_wire::kafka::field::differs(&self.#name, &#default))
        })
        .collect();
    let puts = tagged.iter().zip(&is_set).map(|(field, is_set)| {
        let (name, tag, form) = (&field.name, &field.tag, form_of(field));
        quote! {
            if #is_set {
                writer.put_tagged(#tag, |writer| ::folio_wire::kafka::Field::write(&self.#name, writer, #form));
            }
        }
    });
    quote! {
        #(#plain)*
        if form.flexible {
            writer.put_uvarint(0 #(+ u32::from(#is_set))*);
            #(#puts)*
        }
    }
}

/// What the tests of `folio_wire` need: random values, and the fields by name.
fn specimen(fields: &[Field]) -> TokenStream {
    let values = fields.iter().map(|field| {
        let (name, default, form) = (&field.name, &field.default, form_of(field));
        let present = present(field);
        quote! {
            #name: if #present {
                ::folio_wire::kafka::specimen::Specimen::arbitrary(dice, #form)
            } else {
                #default
            }
        }
    });
    let members = fields.iter().map(|field| {
        let (name, default, form) = (&field.name, &field.default, form_of(field));
        let told = name.to_string();
        let present = present(field);
        let is_told = match &field.tag {
            None => present,
            Some(_) => quote!(#present && ::folio_wire::kafka::field::differs(&self.#name, &#default)),
        };
        quote! {
            if #is_told {
                members.insert(
                    ::folio_wire::kafka::specimen::camel(#told),
                    ::folio_wire::kafka::specimen::Specimen::json(&self.#name, #form),
                );
            }
        }
    });
    quote! {
        fn arbitrary(
            dice: &mut ::folio_wire::kafka::specimen::Dice,
            form: ::folio_wire::kafka::Form,
        ) -> Self {
            Self { #(#values),* }
        }

        fn json(&self, form: ::folio_wire::kafka::Form) -> ::serde_json::Value {
            let mut members = ::serde_json::Map::new();
            #(#members)*
            ::serde_json::Value::Object(members)
        }
    }
}

/// The condition that a field is among the bytes, or may be.
fn present(field: &Field) -> TokenStream {
    let versions = field.versions.contain();
    if field.tag.is_some() { quote!((form.flexible && #versions)) } else { versions }
}

/// The form in which this field stands: the message's, and whether it may be null.
fn form_of(field: &Field) -> TokenStream {
    match &field.nullable {
        None => quote!(form),
        Some(versions) => {
            let nullable = versions.contain();
            quote!(form.nullable(#nullable))
        }
    }
}
