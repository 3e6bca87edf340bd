//! What is served by datagrams: one reply or none, and MOUNT gives no handle that is not ours.
#![no_main]

use holm_fuzz::world::{Server, peer, with_handles};
use holm_nfs_proto::mount;
use holm_nfsd::handle::FileHandle;
use holm_nfsd::service::Transport;
use holm_sunrpc::message::{Call, Reply};
use holm_sunrpc::{Framing, Served};
use holm_xdr::Encoder;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

/// The server, an export, and the export's handle: nothing here changes files.
struct State {
    server: Server,
    service: std::sync::Arc<holm_nfsd::service::Service>,
    root: Vec<Vec<u8>>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new({
        let mut server = Server::new(true);
        let (service, root) = server.service();
        State { server, service, root }
    });
}

fuzz_target!(|data: &[u8]| {
    STATE.with_borrow_mut(|State { server, service, root }| {
        let message = with_handles(data, root);
        let mut out = Encoder::new();
        let Server { context: Some(context), programs, .. } = server else { unreachable!() };
        let served = context.attend(service, peer(Transport::Udp), |context| {
            programs.serve(context, &message, Framing::Datagram, &mut out)
        });
        match served {
            Ok(Served::Now) => {}
            Ok(Served::Elsewhere | Served::Never) | Err(_) => {
                return assert!(out.is_empty());
            }
        }
        let reply = Reply::decode(&out).expect("a reply");
        let Ok(call) = Call::decode(&message) else { return };
        assert_eq!(reply.xid, call.xid);
        let Ok(mut results) = reply.outcome else { return };
        if (call.program, call.procedure) == (mount::PROGRAM, mount::Procedure::Mnt.number())
            && let mount::MountRes::Ok(ok) = results.get().expect("a result of MNT")
        {
            FileHandle::verify(service.key(), ok.handle.bytes()).expect("an honest handle");
        }
    });
});
