//! The stacks of a namespace: one for each interface that has an address.

use super::link::{Outside, Stack};
use super::sockets::{Datagrams, Listener, Stream};
use super::{Config, Limits, Network, Route};
use crate::frame::Frames;
use crate::request::RequestError;
use crate::{
    Flags, IfnetSubsystem, Interface, LinkChange, LinkEvent, LinkState, Receiver, Request, lo,
};
use holm_lifetime::WeakRef;
use holm_lifetime::levels::{HeldLevels, Holding, Locked, NsRtnl};
use holm_lifetime::sync::{Arc, Mutex, Weak};
use holm_netns::notifier::{Chain, Notifier, NsHeld, Refusal};
use holm_netns::{Held, InitError, Namespace, RegisterError, Registry, Subsystem, View};
use holm_pool::{Handle, Next, Source, Turn};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::Instant;

/// TCP/IP as a part that every namespace has. Registered by [`register`](Self::register), after the
/// interfaces.
pub struct StackSubsystem(Arc<Namespaces>);

/// The namespaces that have the part, by number.
#[derive(Default)]
struct Namespaces(Mutex<HashMap<u64, Arc<Tenant>>>);

/// The stacks of a namespace: what [`Contents::get::<StackSubsystem>`](holm_netns::Contents::get) finds
/// there. A handle.
#[derive(Clone)]
pub struct NsStacks(Arc<Tenant>);

#[derive(Default)]
struct Tenant {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The namespace goes.
    closed: bool,
    /// By the number of the interface. Changed only while the configuration lock is held.
    links: HashMap<u64, Link>,
    limits: Limits,
    routes: Vec<Route>,
    newest_service: u64,
    services: Vec<(u64, Service)>,
}

/// What a namespace offers at a port of all its addresses.
#[derive(Clone)]
enum Service {
    Streams(u16, std::sync::Arc<dyn Fn(Stream) + Send + Sync>),
    Datagrams(u16, Bound),
}

/// An interface with addresses.
struct Link {
    stack: std::sync::Arc<Stack>,
    ends: Arc<Ends>,
    listeners: Vec<(u64, Listener)>,
}

impl StackSubsystem {
    /// Gives each namespace of the registry TCP/IP, on the interfaces of which `chain` tells. They were
    /// registered before.
    ///
    /// # Errors
    ///
    /// It is registered already, or a namespace refused it.
    pub fn register(registry: &Registry, chain: &Chain<LinkEvent>) -> Result<(), RegisterError> {
        let namespaces = Arc::<Namespaces>::default();
        registry.register(Self(namespaces.clone()))?;
        // It refuses nothing that exists, and is not registered yet.
        let _ = chain.register(registry, namespaces);
        Ok(())
    }
}

impl Subsystem for StackSubsystem {
    type State = NsStacks;

    fn name(&self) -> &str {
        "stack"
    }

    fn init(&self, view: &View<'_>, held: &mut Held<'_>) -> Result<NsStacks, InitError> {
        let ns = view.namespace();
        let interfaces = view.get::<IfnetSubsystem>();
        let interfaces = interfaces.ok_or_else(|| InitError("there are no interfaces".into()))?;
        let tenant = Arc::<Tenant>::default();
        let mut rtnl = ns.rtnl(held);
        let mut guard = ns.lock(rtnl.token());
        self.0.0.lock().insert(ns.id().id, tenant.clone());
        for interface in interfaces.list() {
            // What it refuses now it would have refused when it was told.
            let _ = tenant.follow(&interface, false, guard.token());
        }
        Ok(NsStacks(tenant))
    }

    fn pre_exit(&self, _: &View<'_>, stacks: &NsStacks) {
        stacks.0.close();
    }

    fn exit(&self, view: &View<'_>, _: NsStacks) {
        self.0.0.lock().remove(&view.namespace().id().id);
    }
}

impl Notifier<LinkEvent> for Namespaces {
    fn name(&self) -> &str {
        "stack"
    }

    fn notify(
        &self,
        ns: &Namespace,
        event: &LinkEvent,
        held: &mut NsHeld<'_>,
    ) -> Result<(), Refusal> {
        // Otherwise it finds what there is when it begins, or it has ended.
        let Some(tenant) = self.0.lock().get(&ns.id().id).cloned() else { return Ok(()) };
        let Some(interface) = event.interface.upgrade() else { return Ok(()) };
        let goes = event.change == LinkChange::Unregistered;
        tenant.follow(&interface, goes, held)?;
        let moved = matches!(
            event.change,
            LinkChange::Up | LinkChange::Link(LinkState::Up) | LinkChange::ActivePort(Some(_))
        );
        if moved && let Some(stack) = tenant.stack(interface.index()) {
            stack.announce();
        }
        Ok(())
    }
}

impl NsStacks {
    /// Takes connections to that port at all addresses that the namespace has at any time, until what is
    /// returned is dropped. `accept` is called as [`Stack::listen`] says.
    ///
    /// # Errors
    ///
    /// It is taken, or the namespace goes.
    pub fn listen(
        &self,
        port: u16,
        accept: impl Fn(Stream) + Send + Sync + 'static,
    ) -> io::Result<Offered> {
        self.offer(Service::Streams(port, std::sync::Arc::new(accept)))
    }

    /// Receives datagrams at that port of all addresses, until what is returned is dropped. `bound` is
    /// called with a socket for each interface that has one; it comes to its end with the interface.
    ///
    /// # Errors
    ///
    /// It is taken, or the namespace goes.
    pub fn bind(
        &self,
        port: u16,
        bound: impl Fn(Datagrams) + Send + Sync + 'static,
    ) -> io::Result<Offered> {
        self.offer(Service::Datagrams(port, std::sync::Arc::new(bound)))
    }

    /// Replaces the routes. An interface uses those whose router is one of its neighbours.
    pub fn set_routes(&self, routes: Vec<Route>) {
        let stacks = {
            let mut state = self.0.state.lock();
            state.routes.clone_from(&routes);
            state.links.values().map(|link| link.stack.clone()).collect::<Vec<_>>()
        };
        stacks.iter().for_each(|stack| stack.set_routes(routes.clone()));
    }

    /// What the stack of each interface may use from now on, as [`Stack::set_limits`] says.
    pub fn set_limits(&self, limits: Limits) {
        let stacks = {
            let mut state = self.0.state.lock();
            state.limits = limits;
            state.links.values().map(|link| link.stack.clone()).collect::<Vec<_>>()
        };
        stacks.iter().for_each(|stack| stack.set_limits(limits));
    }

    /// The routes.
    pub fn routes(&self) -> Vec<Route> {
        self.0.state.lock().routes.clone()
    }

    /// The stack of the interface with that number, if that has an address.
    pub fn stack(&self, index: u64) -> Option<std::sync::Arc<Stack>> {
        self.0.stack(index)
    }

    fn offer(&self, service: Service) -> io::Result<Offered> {
        let (id, stacks) = {
            let mut state = self.0.state.lock();
            if state.closed {
                return Err(ErrorKind::NotConnected.into());
            }
            if state.services.iter().any(|(_, other)| other.port() == service.port()) {
                return Err(ErrorKind::AddrInUse.into());
            }
            state.newest_service += 1;
            let id = state.newest_service;
            state.services.push((id, service.clone()));
            let stacks = state.links.iter().map(|(&index, link)| (index, link.stack.clone()));
            // Those that come from now on offer it from the beginning.
            (id, stacks.collect::<Vec<_>>())
        };
        let offered = Offered { id, tenant: Arc::downgrade(&self.0) };
        for (index, stack) in stacks {
            match service.begin(&stack)? {
                Begun::Listener(listener) => {
                    let mut state = self.0.state.lock();
                    let Some(link) = state.links.get_mut(&index) else { continue };
                    link.listeners.push((id, listener));
                }
                Begun::Datagrams(tell, socket) => tell(socket),
            }
        }
        Ok(offered)
    }
}

/// What a namespace offers, until this is dropped.
pub struct Offered {
    id: u64,
    tenant: Weak<Tenant>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        let Some(tenant) = self.tenant.upgrade() else { return };
        let mut ended = Vec::new();
        let mut state = tenant.state.lock();
        state.services.retain(|(id, _)| *id != self.id);
        for link in state.links.values_mut() {
            ended.extend(link.listeners.extract_if(.., |(id, _)| *id == self.id));
        }
        // They tell others.
        drop(state);
    }
}

/// A service at one stack.
enum Begun {
    Listener(Listener),
    /// A socket, and who is to be told of it when no lock is held.
    Datagrams(Bound, Datagrams),
}

type Bound = std::sync::Arc<dyn Fn(Datagrams) + Send + Sync>;

impl Service {
    fn begin(&self, stack: &std::sync::Arc<Stack>) -> io::Result<Begun> {
        Ok(match self {
            Self::Streams(port, accept) => {
                let accept = accept.clone();
                Begun::Listener(stack.listen(None, *port, move |stream| accept(stream))?)
            }
            Self::Datagrams(port, bound) => {
                Begun::Datagrams(bound.clone(), stack.bind(None, *port)?)
            }
        })
    }

    /// The port, and whether it is one of TCP.
    fn port(&self) -> (u16, bool) {
        match self {
            Self::Streams(port, _) => (*port, true),
            Self::Datagrams(port, _) => (*port, false),
        }
    }
}

impl Tenant {
    fn stack(&self, index: u64) -> Option<std::sync::Arc<Stack>> {
        self.state.lock().links.get(&index).map(|link| link.stack.clone())
    }

    /// Has an interface have a stack like it, or none if it has no address, or somebody else receives
    /// from it, or it goes.
    fn follow<H: HeldLevels>(
        &self,
        interface: &Interface,
        goes: bool,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) -> Result<(), Refusal> {
        let index = interface.index();
        let ends = self.state.lock().links.get(&index).map(|link| link.ends.clone());
        let receiver = interface.receiver();
        let ours = |ends: &Arc<Ends>| {
            let ends: Arc<dyn Receiver> = ends.clone();
            receiver.as_ref().is_some_and(|receiver| Arc::ptr_eq(receiver, &ends))
        };
        let is_ours = ends.as_ref().is_some_and(ours);
        let addresses = interface.addresses();
        let free = is_ours || (receiver.is_none() && ends.is_none());
        let wanted = !goes && free && !addresses.is_empty() && !interface.flags().has(Flags::DYING);
        if !wanted {
            let link = self.state.lock().links.remove(&index);
            if let Some(link) = link {
                link.end();
                if is_ours {
                    interface.set_receiver(None, held);
                }
            }
            return Ok(());
        }
        let Some((stack, ends, bound)) = self.link(interface) else { return Ok(()) };
        if !is_ours {
            interface.set_receiver(Some(ends), held);
        }
        bound.into_iter().for_each(|(tell, socket)| tell(socket));
        stack.set_mtu(interface.mtu());
        stack.set_mac(interface.mac());
        let addresses: Vec<_> = addresses.into_iter().map(Network::from).collect();
        for old in stack.addresses() {
            if !addresses.contains(&old) && !stack.is_own_link_local(old) {
                stack.remove_address(old.address());
            }
        }
        let there = stack.addresses();
        let mut refused = Ok(());
        for new in addresses {
            if !there.contains(&new)
                && let Err(error) = stack.add_address(new)
            {
                refused = Err(Refusal(format!("interface {}: {error}", interface.name())));
            }
        }
        refused
    }

    /// The stack of an interface, which is made if there is none, with what the namespace offers; and
    /// who is to be told of a socket. `None`: the namespace goes.
    fn link(&self, interface: &Interface) -> Option<Linked> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        if let Some(link) = state.links.get(&interface.index()) {
            return Some((link.stack.clone(), link.ends.clone(), Vec::new()));
        }
        // Nobody else has it yet, so nobody else is called while the lock is held.
        let mut link = Link::new(interface, state.limits);
        link.stack.set_routes(state.routes.clone());
        let mut bound = Vec::new();
        for (id, service) in &state.services {
            match service.begin(&link.stack) {
                Ok(Begun::Listener(listener)) => link.listeners.push((*id, listener)),
                Ok(Begun::Datagrams(tell, socket)) => bound.push((tell, socket)),
                Err(_) => unreachable!("services have different ports"),
            }
        }
        let linked = (link.stack.clone(), link.ends.clone(), bound);
        state.links.insert(interface.index(), link);
        Some(linked)
    }

    fn close(&self) {
        let links = {
            let mut state = self.state.lock();
            state.closed = true;
            state.services.clear();
            std::mem::take(&mut state.links)
        };
        links.into_values().for_each(Link::end);
    }
}

impl Link {
    fn new(interface: &Interface, limits: Limits) -> Self {
        let config = Config {
            mac: interface.mac(),
            mtu: interface.mtu(),
            loopback: interface.kind() == lo::KIND,
            limits,
        };
        let ends = Arc::new(Ends {
            interface: interface.downgrade(),
            stack: Mutex::default(),
            alarm: Mutex::default(),
        });
        let stack = Stack::new(config, ends.clone());
        *ends.stack.lock() = std::sync::Arc::downgrade(&stack);
        Self { stack, ends, listeners: Vec::new() }
    }

    fn end(self) {
        self.stack.close();
        let alarm = self.ends.alarm.lock().take();
        if let Some(alarm) = alarm {
            alarm.remove();
        }
    }
}

/// A stack, where it ends, and sockets that somebody is to be told of.
type Linked = (std::sync::Arc<Stack>, Arc<Ends>, Vec<(Bound, Datagrams)>);

/// Where a stack and its interface meet.
struct Ends {
    interface: WeakRef<Interface>,
    stack: Mutex<std::sync::Weak<Stack>>,
    /// The source that looks after the stack when its time has come. It is made when it is needed.
    alarm: Mutex<Option<Handle>>,
}

impl Ends {
    fn stack(&self) -> Option<std::sync::Arc<Stack>> {
        self.stack.lock().upgrade()
    }

    fn with_alarm(&self, f: impl FnOnce(&Handle)) {
        let mut alarm = self.alarm.lock();
        if alarm.is_none()
            && let Some(interface) = self.interface.upgrade()
        {
            let ticks = Ticks(self.stack.lock().clone());
            // Refused, the namespace goes.
            *alarm = interface.add_source(Arc::new(ticks)).ok();
        }
        if let Some(alarm) = &*alarm {
            f(alarm);
        }
    }
}

impl Outside for Arc<Ends> {
    fn room(&self) -> usize {
        // Once it is gone, all that is sent is lost.
        self.interface.upgrade().map_or(usize::MAX, |interface| interface.room())
    }

    fn offloads(&self) -> bool {
        self.interface.upgrade().is_some_and(|interface| interface.offloads())
    }

    fn transmit(&self, mut frames: Frames) {
        if let Some(interface) = self.interface.upgrade() {
            interface.transmit(&mut frames);
        }
    }

    fn wake_at(&self, at: Instant) {
        self.with_alarm(|alarm| alarm.wake_at(Some(at)));
    }

    fn go_on(&self) {
        self.with_alarm(Handle::wake);
    }
}

impl Receiver for Ends {
    fn receive(&self, _: &Turn<'_>, _: &Interface, frames: &mut Frames) {
        if let Some(stack) = self.stack() {
            stack.input(frames);
        }
    }

    fn has_room(&self, _: &Interface) {
        self.with_alarm(Handle::wake);
    }

    fn allows(&self, interface: &Interface, request: &Request) -> Result<(), RequestError> {
        let refused = |why: String| RequestError::Invalid { name: interface.name(), why };
        let Some(stack) = self.stack() else { return Ok(()) };
        match request {
            Request::AddAddress(cidr) => {
                stack.check_address((*cidr).into()).map_err(|error| refused(error.to_string()))
            }
            Request::SetMtu(mtu) => {
                let v6 = |network: &Network| network.address().is_ipv6();
                let addresses = interface.addresses().into_iter().map(Network::from);
                match addresses.filter(v6).find(|_| *mtu < super::IPV6_MTU_MIN) {
                    Some(first) => Err(refused(format!(
                        "IPv6 needs an MTU of {}; remove {first} and other such addresses first",
                        super::IPV6_MTU_MIN
                    ))),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Looks after a stack when its time has come.
struct Ticks(std::sync::Weak<Stack>);

impl Source for Ticks {
    fn run(&self, _: &Turn<'_>) -> Next {
        match self.0.upgrade() {
            Some(stack) => {
                stack.tick();
                Next::Idle
            }
            None => Next::Done,
        }
    }
}
