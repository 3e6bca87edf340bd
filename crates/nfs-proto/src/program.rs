//! One description of a program gives its procedures and their arguments.

/// Defines `Procedure`, the procedures of a program version, and `Call`, one of them together with
/// its arguments.
macro_rules! program {
    (
        $(#[$about_procedure:meta])* Procedure,
        $(#[$about_call:meta])* Call $(<$life:lifetime>)? {
            $( $(#[$about:meta])* $name:ident $(($args:ty))? = $number:literal $rfc_name:literal, )*
        }
    ) => {
        $(#[$about_procedure])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Procedure {
            $( $(#[$about])* $name = $number, )*
        }

        impl Procedure {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The procedure of that number, if there is one.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$name), )*
                    _ => None,
                }
            }

            /// Its number in the call header.
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// Its name in the protocol's description, in capitals.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $rfc_name, )*
                }
            }
        }

        $(#[$about_call])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Call $(<$life>)? {
            $( $(#[$about])* $name $(($args))?, )*
        }

        impl $(<$life>)? Call $(<$life>)? {
            /// Decodes the arguments of `procedure`.
            ///
            /// # Errors
            /// If they are not what the protocol says: the answer is `GARBAGE_ARGS`.
            pub fn decode(
                procedure: Procedure,
                input: &mut ::holm_xdr::Decoder<$($life)?>,
            ) -> Result<Self, ::holm_xdr::Error> {
                match procedure {
                    $( Procedure::$name => {
                        let _ = &input;
                        Ok(Self::$name $((input.get::<$args>()?))?)
                    } )*
                }
            }

            /// Which procedure it calls.
            pub const fn procedure(&self) -> Procedure {
                match self {
                    $( Self::$name { .. } => Procedure::$name, )*
                }
            }
        }

        /// The arguments; the procedure's number is in the call header.
        impl $(<$life>)? ::holm_xdr::Encode for Call $(<$life>)? {
            fn encode(&self, out: &mut ::holm_xdr::Encoder) {
                match self {
                    $( program!(@pattern $name arguments $(($args))?) => {
                        program!(@encode out arguments $(($args))?)
                    } )*
                }
            }
        }
    };
    (@pattern $name:ident $arguments:ident ($args:ty)) => { Self::$name($arguments) };
    (@pattern $name:ident $arguments:ident) => { Self::$name };
    (@encode $out:ident $arguments:ident ($args:ty)) => {
        ::holm_xdr::Encode::encode($arguments, $out)
    };
    (@encode $out:ident $arguments:ident) => { () };
}
