#![doc = include_str!("../README.md")]

mod declaration;
mod expansion;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `Default`, `Field`, and `Message` or `Nullable`; see the page of this crate for the attributes.
#[proc_macro_derive(Message, attributes(kafka))]
pub fn message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match declaration::Declaration::parse(input) {
        Ok(declaration) => expansion::expand(&declaration).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
