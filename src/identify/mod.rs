//! Which bytes does a sender sign? Finds the scheme of a captured request.
