use holm_xdr::Decode;

#[derive(Decode)]
enum NoCase {
    #[xdr(case = 0)]
    Nothing,
    Something(u32),
}

#[derive(Decode)]
enum DefaultFirst {
    #[xdr(default)]
    Other(u32),
    #[xdr(case = 0)]
    Nothing,
}

#[derive(Decode)]
enum DefaultForgets {
    #[xdr(case = 0)]
    Nothing,
    #[xdr(default)]
    Other,
}

fn main() {}
