//! How interfaces are made of wires.

use super::{
    Dgram, DgramOptions, OpenError, Packet, PacketOptions, Stream, StreamOptions, Tap, TapOptions,
    carrier,
};
use crate::driver::{Cloner, Driver, DriverError};
use crate::wire::Wire;
use crate::wire_driver::WireDriver;

/// Runs what it is given in some network namespace of the kernel's, on a thread that may go there, and
/// waits for it; or says why it could not.
pub type Enter = Box<dyn FnOnce(&mut (dyn FnMut() + Send)) -> Result<(), DriverError> + Send>;

/// A tap or packet socket in another network namespace of the kernel's.
///
/// It keeps that namespace. So whoever enters it watches who the namespace belongs to, and destroys the
/// interface when that one leaves.
pub struct Inside<O> {
    /// What is opened there.
    pub options: O,
    /// How to get there.
    pub enter: Enter,
}

impl Cloner for TapOptions {
    const KIND: &'static str = "tap";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        driver(Tap::open(&self))
    }
}

impl Cloner for PacketOptions {
    const KIND: &'static str = "packet";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        driver(Packet::open(&self))
    }
}

impl Cloner for StreamOptions {
    const KIND: &'static str = "stream";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        driver(Stream::open(&self))
    }
}

impl Cloner for DgramOptions {
    const KIND: &'static str = "dgram";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        driver(Dgram::open(&self))
    }
}

impl Cloner for Inside<TapOptions> {
    const KIND: &'static str = TapOptions::KIND;

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        inside(self.enter, || Tap::open(&self.options))
    }
}

impl Cloner for Inside<PacketOptions> {
    const KIND: &'static str = PacketOptions::KIND;

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        inside(self.enter, || Packet::open(&self.options))
    }
}

fn inside<W: Wire>(
    enter: Enter,
    mut open: impl FnMut() -> Result<W, OpenError> + Send,
) -> Result<Box<dyn Driver>, DriverError> {
    carrier::start();
    let mut opened = None;
    enter(&mut || opened = Some(open()))?;
    match opened {
        Some(opened) => driver(opened),
        None => Err(DriverError("the network namespace was not entered".into())),
    }
}

fn driver(opened: Result<impl Wire, OpenError>) -> Result<Box<dyn Driver>, DriverError> {
    match opened {
        Ok(wire) => Ok(Box::new(WireDriver::new(wire))),
        Err(error) => Err(DriverError(error.to_string())),
    }
}
