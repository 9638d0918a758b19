//! The client library of Folio: producer, consumer and admin.
