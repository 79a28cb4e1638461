//! Names of files in the state directory, beside the identity
//! ([`wzp_transport::identity::IDENTITY_FILE`]).

/// The socket that `wzp-relay ctl` asks.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// The audit log, unless `audit.file` names another.
pub const AUDIT_FILE: &str = "audit.log";
