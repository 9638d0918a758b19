//! When loops stop reading producers: lanes or unflushed bytes over their bounds.
