//! Derives the bytes of a Kafka message from the struct that declares it.
//!
//! The declaration is the documentation of the message: fields stand in the order of the bytes, and what
//! a field does not say holds in every version.
//!
//! ```text
//! #[derive(Message)]
//! #[kafka(api = Fetch, versions = 4..=18, flexible = 12..)]   the message itself; a struct inside it has no such line
//! struct FetchRequest<'a> {
//!     #[kafka(versions = 7.., default = -1, ignorable)]
//!     session_epoch: i32,
//! }
//! ```
//!
//! | on a field | meaning |
//! |---|---|
//! | `versions = 3..`, `= 8..=10`, `= ..=12` | the field exists in these versions; elsewhere it reads as its default |
//! | `nullable`, `nullable = 1..` | the `Option` may be `None`: always, or in these versions |
//! | `default = -1` | the value when nothing was sent; else zero, empty, `false`; `Some` of these for an `Option` |
//! | `tag = 0` | a tagged field of flexible versions, written only if it differs from its default |
//! | `ignorable` | dropped without a word where the version lacks it; without it, a value other than the default refuses to be encoded |
//!
//! Derived are `Default`, `Field`, and `Message` (with `api`) or `Nullable` (without), all of
//! `folio_wire::kafka`; in the tests of that room `Specimen` as well, which makes random values. A type that is no field of Kafka's is an error of the compiler at that field.

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
