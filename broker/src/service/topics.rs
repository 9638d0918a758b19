//! Topics: create, list, describe, delete.
