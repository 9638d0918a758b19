//! The broker: policy above the log and the wire, and the daemon `foliod`.
