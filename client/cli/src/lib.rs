//! The command line `folio`.
