//! Claims about the whole house.
