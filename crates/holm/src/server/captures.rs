//! Captures of what passes by an interface.

use super::{Error, Server};
use crate::spelling::nearest;
use holm_ifnet::{Capture, IfName, IfnetSubsystem};

impl Server {
    /// Captures the frames that pass by an interface of a namespace, both ways, from now on: the first
    /// `snap` bytes of each. It ends with the interface and holds up nobody.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn capture(&self, ns: &str, link: &str, snap: u32) -> Result<Capture, Error> {
        let ns = self.tenants().resolve(ns)?.ns.clone();
        let inside = ns.enter();
        let interfaces = inside.as_ref().and_then(|inside| inside.get::<IfnetSubsystem>());
        let Some(interfaces) = interfaces else {
            return Err(Error::NotFound(format!("namespace {} is being removed", ns.id())));
        };
        let name = link.parse::<IfName>().ok();
        if let Some(interface) = name.and_then(|name| interfaces.find(name)) {
            return Ok(interface.capture(snap));
        }
        let names: Vec<String> =
            interfaces.list().iter().map(|interface| interface.name().to_string()).collect();
        let hint = match nearest(link, names.iter().map(String::as_str)) {
            Some(near) => format!(": did you mean {near}?"),
            None => String::new(),
        };
        Err(Error::NotFound(format!("{} has no link {link}{hint}", ns.id().name)))
    }
}
