//! Append lanes: appends that may have to wait on a disk.
