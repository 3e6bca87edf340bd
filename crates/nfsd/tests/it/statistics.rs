//! What calls come to is counted, in the service that served them.

use crate::wire::*;
use crate::world::{Scratch, as_root};
use holm_nfs_proto::nfs3::Procedure;
use holm_nfsd::Status;
use holm_nfsd::statistics::ProcedureStatistics;

#[test]
fn calls_bytes_and_errors_are_counted_where_they_happened() {
    as_root(|| {
        let scratch = Scratch::new();
        let thread = Thread::new();
        let (served, other) =
            (service(vec![trusting(scratch.path())]), service(vec![trusting(scratch.path())]));
        let client = Client::new(&thread, &served);
        let root = client.mount("/").unwrap();
        assert_eq!(served.statistics().read(), [], "mounting is not NFS");

        let file = client.create(&root, b"file").unwrap();
        client.write(&file, 0, &[1; 10_000]).unwrap();
        assert_eq!(client.read(&file, 9_000, 4096).unwrap().0.len(), 1000);
        client.read(&file, 0, 500).unwrap();
        for _ in 0..3 {
            client.lookup(&root, b"nobody").unwrap_err();
        }
        client.lookup(&root, b"file").unwrap();
        client.getattr(&[7; 64]).unwrap_err();

        let read = served.statistics().read();
        let of = |procedure| read.iter().find(|figures| figures.procedure == procedure).unwrap();
        let figures = |procedure| {
            let ProcedureStatistics { bytes, errors, .. } = of(procedure);
            (of(procedure).calls(), *bytes, errors.clone())
        };
        assert_eq!(figures(Procedure::Create), (1, 0, vec![]));
        assert_eq!(figures(Procedure::Write), (1, 10_000, vec![]));
        assert_eq!(figures(Procedure::Read), (2, 1500, vec![]));
        assert_eq!(figures(Procedure::Lookup), (4, 0, vec![(Status::NoEnt, 3)]));
        assert_eq!(figures(Procedure::GetAttr), (1, 0, vec![(Status::BadHandle, 1)]));
        assert_eq!(read.len(), 5, "only what was called");
        assert!(of(Procedure::Read).latency.quantile(0.5).is_some_and(|time| !time.is_zero()));
        assert_eq!(other.statistics().read(), [], "another's calls");
    });
}
