//! Whether guests can run on the processor itself, or have to be emulated.

use std::{env, fs, fs::OpenOptions, sync::OnceLock, time::Duration};

use crate::{Error, Guest, Image};

/// What a guest may take to boot on the processor itself, when that works.
const TRIAL: Duration = Duration::from_secs(20);

/// What executes a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's emulation.
    Tcg,
}

impl Accelerator {
    /// QEMU's option.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// The one that `HOLM_GUEST_ACCELERATOR` names, or the best that works here.
    pub(crate) fn choose(image: &Image) -> Result<Self, Error> {
        match env::var("HOLM_GUEST_ACCELERATOR").as_deref() {
            Ok("kvm") => Ok(Self::Kvm),
            Ok("tcg") => Ok(Self::Tcg),
            Ok("") | Err(_) => {
                static BEST: OnceLock<Accelerator> = OnceLock::new();
                Ok(*BEST.get_or_init(|| Self::best(image)))
            }
            Ok(other) => {
                let what = format!("HOLM_GUEST_ACCELERATOR={other}: neither kvm nor tcg");
                Err(Error::Invalid(what))
            }
        }
    }

    /// KVM if a guest boots with it: some machines have a `/dev/kvm` that fails at the first
    /// unusual instruction. The finding holds until the machine is booted again.
    fn best(image: &Image) -> Self {
        if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            return Self::Tcg;
        }
        let path = image.directory().join("accelerator");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let line = |accelerator: Self| format!("{} {}\n", boot.trim(), accelerator.option());
        if let Ok(known) = fs::read_to_string(&path) {
            let is = |accelerator: &Self| known == line(*accelerator);
            if let Some(found) = [Self::Kvm, Self::Tcg].into_iter().find(is) {
                return found;
            }
        }
        let trial = Guest::builder().script("true").no_network().timeout(TRIAL);
        let found = match trial.spawn_with(image, Self::Kvm).and_then(Guest::wait) {
            Ok(_) => Self::Kvm,
            Err(_) => {
                eprintln!("guest: /dev/kvm is there and does not work; guests are emulated");
                Self::Tcg
            }
        };
        // An image may belong to somebody else; the trial is then made again.
        let _ = fs::write(&path, line(found));
        found
    }
}
