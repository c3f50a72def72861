//! The whole rotation in one call.
