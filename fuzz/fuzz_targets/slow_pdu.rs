//! LACPDUs and markers: what is decoded is encoded to what is decoded to the same.
#![no_main]

use holm_ifnet::MacAddress;
use holm_ifnet::ether::{Ethernet, HEADER};
use holm_ifnet::lacp::{LENGTH, SlowPdu};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(pdu) = SlowPdu::decode(data) else { return };
    let source = MacAddress([2, 0, 0, 0, 0, 1]);
    let frame = pdu.frame(source);
    assert_eq!(frame.len(), HEADER + LENGTH);
    let ethernet = Ethernet::parse(&frame).expect("a frame");
    assert_eq!(ethernet.source, source);
    assert_eq!(SlowPdu::decode(ethernet.payload), Ok(pdu));
    assert!(SlowPdu::decode(&data[..LENGTH - 1]).is_err());
    assert_eq!(SlowPdu::decode(&data[..LENGTH]), Ok(pdu));
});
