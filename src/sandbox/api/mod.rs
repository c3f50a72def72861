//! The provider's management API over HTTP.
