//! Maintenance: next segments, rolls by age, retention.
