//! The management API of KYC Genie, typed.
