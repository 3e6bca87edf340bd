//! The result of READ, with the data brought in by somebody else.

use super::{Attributes, Error, Outcome, PostOpAttributes};
use holm_xdr::{Encode, Encoder, FixedSize, Placeholder};

/// A READ result under construction: the data is read straight into the send buffer, then what
/// stands in front of it is filled in, with the count that was really read.
///
/// ```
/// use holm_nfs_proto::nfs3::ReadReply;
/// use holm_xdr::Encoder;
///
/// let mut out = Encoder::new();
/// let mut reply = ReadReply::begin(&mut out, 4096);
/// reply.payload()[..5].copy_from_slice(b"hello"); // pread(file, reply.payload(), offset)
/// reply.finish(None, 5, true);
/// assert_eq!(out.len(), 4 + 4 + 4 + 4 + 4 + 8);
/// ```
///
/// Dropped unfinished, it takes back everything.
#[derive(Debug)]
#[must_use = "it is to be finished"]
pub struct ReadReply<'e> {
    out: &'e mut Encoder,
    start: usize,
    front: Placeholder<Front>,
    attributes: Placeholder<Attributes>,
    back: Placeholder<Back>,
    finished: bool,
}

impl<'e> ReadReply<'e> {
    /// Leaves room for the result and `max` bytes of data at the end of `out`. The memory is
    /// allocated here: `max` is what the client asks for, but no more than the server admits.
    pub fn begin(out: &'e mut Encoder, max: u32) -> Self {
        let start = out.len();
        let front = out.placeholder();
        let attributes = out.placeholder();
        let back = out.placeholder();
        out.space(max as usize);
        Self { out, start, front, attributes, back, finished: false }
    }

    /// Where the data goes: `max` bytes, which hold something else before they are written.
    pub fn payload(&mut self) -> &mut [u8] {
        self.out.tail_mut(self.start + HEAD)
    }

    /// The first `count` bytes of the payload (all of it, if that is fewer) are data; `eof` says
    /// that the file ends behind them. Without attributes the data moves forward, which costs.
    pub fn finish(mut self, attributes: PostOpAttributes, count: u32, eof: bool) {
        self.finished = true;
        // `begin` took its length as a u32.
        let count = count.min(self.payload().len() as u32);
        let out = &mut *self.out;
        out.truncate(self.start + HEAD + count as usize);
        out.pad(count as usize);
        out.fill(self.front, &Front { status: OK, attributes_follow: attributes.is_some() });
        out.fill(self.back, &Back { count, eof, len: count });
        match attributes {
            Some(attributes) => out.fill(self.attributes, &attributes),
            None => out.remove(self.start + Front::SIZE, Attributes::SIZE),
        }
    }

    /// It failed after all.
    pub fn fail(self, error: Error, attributes: PostOpAttributes) {
        let mut this = self;
        this.finished = true;
        this.out.truncate(this.start);
        Outcome::<(), _>::Failed(error, attributes).encode(this.out);
    }
}

impl Drop for ReadReply<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// The result of a READ up to its data, which is sent from elsewhere (by `sendfile`, `splice` or
/// a gathering write): `count` bytes have to follow, and [padding](holm_xdr::padding).
pub fn read_head(out: &mut Encoder, attributes: PostOpAttributes, count: u32, eof: bool) {
    out.u32(OK);
    attributes.encode(out);
    Back { count, eof, len: count }.encode(out);
}

/// In front of the attributes.
#[derive(Debug, Encode)]
struct Front {
    status: u32,
    attributes_follow: bool,
}

/// Behind the attributes.
#[derive(Debug, Encode)]
struct Back {
    count: u32,
    eof: bool,
    len: u32,
}

impl FixedSize for Front {
    const SIZE: usize = 8;
}

impl FixedSize for Back {
    const SIZE: usize = 12;
}

/// `NFS3_OK`.
const OK: u32 = 0;
/// Everything before the data.
const HEAD: usize = Front::SIZE + Attributes::SIZE + Back::SIZE;
