//! Frames on their way.

/// One Ethernet frame: header and payload, without the check sequence. It is owned by whoever has it,
/// and moved from one to the next without being copied.
pub type Frame = Box<[u8]>;

/// Frames that go together: what one wake-up has brought, or one turn has made.
pub type Frames = Vec<Frame>;
