//! What can be said against the door for programs on this machine.

use super::{Checked, Problem};
use crate::model::LocalSpec;
use std::os::unix::ffi::OsStrExt;

/// The longest path that the kernel takes for a socket, in bytes: `sun_path` of unix(7), with a zero at
/// its end.
const LONGEST: usize = 107;
/// Nobody has to wait longer for a program, in seconds.
const RECALL_MOST: u32 = 3600;

impl Checked for LocalSpec {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.users.contains(&u32::MAX) {
            let why =
                format!("no user has the number {}: write the numbers that `id -u` says", u32::MAX);
            problems.push(Problem::at("users", why));
        }
        if let Some(socket) = &self.socket {
            let shown = socket.display();
            if !socket.is_absolute() || socket.file_name().is_none() {
                let why = format!("the socket {shown} has to be the absolute path of a file");
                problems.push(Problem::at("socket", why));
            } else if socket.as_os_str().as_bytes().len() > LONGEST {
                let why = format!("{shown} is longer than {LONGEST} bytes: choose a shorter path");
                problems.push(Problem::at("socket", why));
            }
        }
        if !(1..=RECALL_MOST).contains(&self.recall_time) {
            let why = format!(
                "{} is out of range: write a number from 1 to {RECALL_MOST}",
                self.recall_time
            );
            problems.push(Problem::at("recall-time", why));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_that_cannot_be_are_refused() {
        let good = LocalSpec {
            users: [0, 65534].into(),
            socket: Some("/run/holm/local/blue.sock".into()),
            recall_time: RECALL_MOST,
        };
        assert_eq!(good.problems(), []);
        let long = format!("/{}", "s".repeat(LONGEST));
        for (bad, field) in [
            (LocalSpec { users: [u32::MAX].into(), ..good.clone() }, "users: no user"),
            (
                LocalSpec { socket: Some("blue.sock".into()), ..good.clone() },
                "socket: the socket blue",
            ),
            (LocalSpec { socket: Some("/".into()), ..good.clone() }, "socket: the socket / "),
            (LocalSpec { socket: Some(long.into()), ..good.clone() }, "socket: /sss"),
            (LocalSpec { recall_time: 0, ..good.clone() }, "recall-time: 0 is out of range"),
            (LocalSpec { recall_time: RECALL_MOST + 1, ..good.clone() }, "recall-time: 3601"),
        ] {
            let [problem] = &bad.problems()[..] else { panic!("{bad:?}") };
            assert!(problem.to_string().starts_with(field), "{problem}");
        }
    }
}
