//! Three ways from the page cache into a stream: read and send, `sendfile`, `splice` through a pipe.
//!
//! `cargo bench -p holm-nfsd --bench large_reads`. Pieces of 1 MiB in order, as READ has them, of a file
//! that is in memory, over one connection on loopback. The receiver is a thread of its own, which either
//! copies what comes or drops it in the kernel (`MSG_TRUNC`), as a load generator does. The ways take
//! turns; the table shows medians.

use rustix::fs::sendfile;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const PIECE: usize = 1 << 20;
const FILE: usize = 256 << 20;
const PASSES: usize = 8;
const ROUNDS: usize = 5;

fn main() -> io::Result<()> {
    let directory = std::env::temp_dir().join(format!("holm-large-reads-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let measured = measure(&directory.join("file"));
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn measure(path: &std::path::Path) -> io::Result<()> {
    std::fs::write(path, vec![7; FILE])?;
    let file = File::open(path)?;
    println!("| way | receiver | GB/s | CPU of the sender, s/GB |\n| --- | --- | ---: | ---: |");
    for (receiver, flags) in [("copies", RecvFlags::empty()), ("drops", RecvFlags::TRUNC)] {
        let mut measured = vec![Vec::new(); WAYS.len()];
        for _ in 0..ROUNDS {
            for ((_, make), figures) in WAYS.iter().zip(&mut measured) {
                figures.push(run(&file, make()?, flags)?);
            }
        }
        for ((name, _), mut figures) in WAYS.iter().zip(measured) {
            figures.sort_by_key(|(took, _)| *took);
            let (took, _) = figures[ROUNDS / 2];
            figures.sort_by_key(|(_, cpu)| *cpu);
            let (_, cpu) = figures[ROUNDS / 2];
            let gigabytes = (FILE * PASSES) as f64 / 1e9;
            let rate = gigabytes / took.as_secs_f64();
            println!("| {name} | {receiver} | {rate:.2} | {:.3} |", cpu.as_secs_f64() / gigabytes);
        }
    }
    Ok(())
}

type Way = Box<dyn FnMut(&File, u64, &TcpStream) -> io::Result<()>>;

type Make = fn() -> io::Result<Way>;

const WAYS: [(&str, Make); 3] =
    [("pread and send", read_and_send), ("sendfile", by_sendfile), ("splice", by_splice)];

fn read_and_send() -> io::Result<Way> {
    let mut buffer = vec![0; PIECE];
    Ok(Box::new(move |file, offset, stream| {
        file.read_exact_at(&mut buffer, offset)?;
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            let sent = send(stream, rest, SendFlags::NOSIGNAL)?;
            rest = &rest[sent..];
        }
        Ok(())
    }))
}

fn by_sendfile() -> io::Result<Way> {
    Ok(Box::new(|file, offset, stream| {
        let (mut at, end) = (offset, offset + PIECE as u64);
        while at < end {
            let wanted = (end - at) as usize;
            sendfile(stream, file, Some(&mut at), wanted)?;
        }
        Ok(())
    }))
}

fn by_splice() -> io::Result<Way> {
    let (outgoing, incoming): (OwnedFd, OwnedFd) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&incoming, PIECE)?;
    Ok(Box::new(move |file, offset, stream| {
        let (mut at, end) = (offset, offset + PIECE as u64);
        while at < end {
            let (wanted, flags) = ((end - at) as usize, SpliceFlags::MOVE);
            let mut left = splice(file, Some(&mut at), &incoming, None, wanted, flags)?;
            while left > 0 {
                left -= splice(&outgoing, None, stream, None, left, flags)?;
            }
        }
        Ok(())
    }))
}

/// How long it took, and the CPU time of the sending thread.
fn run(file: &File, mut way: Way, flags: RecvFlags) -> io::Result<(Duration, Duration)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let sending = TcpStream::connect(listener.local_addr()?)?;
    let (receiving, _) = listener.accept()?;
    let receiver = std::thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut left = FILE * PASSES;
        while left > 0 {
            let wanted = buffer.len().min(left);
            let (_, count) = recv(&receiving, &mut buffer[..wanted], flags)?;
            left -= count.min(wanted);
        }
        Ok(())
    });
    let (began, cpu) = (Instant::now(), thread_time());
    for _ in 0..PASSES {
        for offset in (0..FILE).step_by(PIECE) {
            way(file, offset as u64, &sending)?;
        }
    }
    let cpu = thread_time() - cpu;
    receiver.join().map_err(|_| io::Error::other("the receiver panicked"))??;
    Ok((began.elapsed(), cpu))
}

fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
