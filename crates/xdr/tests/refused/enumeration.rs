use holm_xdr::Encode;

#[derive(Clone, Copy, Encode)]
enum NoValue {
    One = 1,
    Two,
}

fn main() {}
