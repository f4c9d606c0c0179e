//! The macros that declare messages, so that a message's shape is written down once.

/// Declares a struct that is a CBOR map with small integer keys; `Option` fields may be absent.
#[macro_export]
macro_rules! message {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$fmeta:meta])* $key:literal => $fvis:vis $field:ident : $ty:ty),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$fmeta])* $fvis $field: $ty),*
        }
        impl $crate::Wire for $name {
            fn encode(&self, w: &mut $crate::Writer) {
                let present = [$(!$crate::Wire::is_absent(&self.$field)),*];
                w.map(present.iter().filter(|p| **p).count());
                $(if !$crate::Wire::is_absent(&self.$field) {
                    w.uint($key);
                    $crate::Wire::encode(&self.$field, w);
                })*
            }
            fn decode(r: &mut $crate::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                r.fields(|f| Ok($name { $($field: f.field($key, stringify!($field))?),* }))
            }
        }
    };
}

/// Declares an enum that is a CBOR array `[number, body]`, or `[number]` for a variant without body.
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$vmeta:meta])* $key:literal => $variant:ident $(($body:ty))?),* $(,)?
    }) => {
        $(#[$meta])*
        $vis enum $name {
            $($(#[$vmeta])* $variant $(($body))?),*
        }
        impl $crate::Wire for $name {
            fn encode(&self, w: &mut $crate::Writer) {
                match self {
                    $($crate::choice!(@pattern $name $variant body $($body)?) => {
                        w.array($crate::choice!(@arity $($body)?));
                        w.uint($key);
                        $crate::choice!(@encode w body $($body)?);
                    })*
                }
            }
            fn decode(r: &mut $crate::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                r.tagged(|number, arity, r| match (number, arity) {
                    $(($key, $crate::choice!(@arity $($body)?)) =>
                        $crate::choice!(@decode r $name $variant $($body)?),)*
                    _ => Err($crate::cbor::Fault::UnknownVariant.into()),
                })
            }
        }
    };
    (@pattern $name:ident $variant:ident $bind:ident) => { $name::$variant };
    (@pattern $name:ident $variant:ident $bind:ident $body:ty) => { $name::$variant($bind) };
    (@arity) => { 1 };
    (@arity $body:ty) => { 2 };
    (@encode $w:ident $bind:ident) => { {} };
    (@encode $w:ident $bind:ident $body:ty) => { $crate::Wire::encode($bind, $w) };
    (@decode $r:ident $name:ident $variant:ident) => { Ok($name::$variant) };
    (@decode $r:ident $name:ident $variant:ident $body:ty) => {
        <$body as $crate::Wire>::decode($r)
            .map($name::$variant)
            .map_err(|e| e.within(stringify!($variant)))
    };
}

/// Declares an enum without bodies that travels as its number.
#[macro_export]
macro_rules! number {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$vmeta:meta])* $key:literal => $variant:ident),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name {
            $($(#[$vmeta])* $variant),*
        }
        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The number on the wire.
            pub fn number(self) -> u8 {
                match self { $($name::$variant => $key),* }
            }

            /// The value of a number, or nothing if it is not known here.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($key => Some($name::$variant),)* _ => None }
            }
        }
        impl $crate::Wire for $name {
            fn encode(&self, w: &mut $crate::Writer) {
                w.uint(u64::from(self.number()));
            }
            fn decode(r: &mut $crate::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                u8::try_from(r.uint()?)
                    .ok()
                    .and_then(Self::from_number)
                    .ok_or_else(|| $crate::cbor::Fault::UnknownVariant.into())
            }
        }
    };
}

impl crate::Reader<'_> {
    /// Reads `[number, body?]` and hands number and arity to `body`.
    pub fn tagged<T>(
        &mut self,
        body: impl FnOnce(u64, usize, &mut Self) -> Result<T, crate::DecodeError>,
    ) -> Result<T, crate::DecodeError> {
        self.nested(4, |r, arity| {
            if arity == 0 {
                return Err(crate::cbor::Fault::MissingField.into());
            }
            let number = r.uint()?;
            body(number, arity, r)
        })
    }
}
