//! LOCALIO: program 400122, with which a client finds out that it is on the server's machine.
//!
//! The client makes up a UUID, puts it where only the same machine finds it, and names it in
//! UUID_IS_LOCAL over its NFS connection. The reply says nothing: whoever found the UUID let the
//! client know where it was put. Here that is the server's [`door`].

pub mod door;

/// The program's number.
pub const PROGRAM: u32 = 400_122;
/// The version that is described here.
pub const VERSION: u32 = 1;

/// A UUID: 16 bytes, without a count in front of them.
pub type Uuid = [u8; 16];

program! {
    /// The procedures.
    Procedure,
    /// A procedure and its arguments.
    Call {
        /// Do nothing.
        Null = 0 "NULL",
        /// This is the client's UUID. No result.
        UuidIsLocal(Uuid) = 1 "UUID_IS_LOCAL",
    }
}
