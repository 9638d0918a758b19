//! A table of error codes: number, name, whether asking again may help. Each protocol has one.

/// Gives a number its constants and what they mean.
///
/// A row is `number CONSTANT again|final`, and a name unless the constant is the name.
macro_rules! error_table {
    ($table:ident($ty:ty): $($number:literal $constant:ident $retriable:ident $($name:literal)?;)*) => {
        impl $table {
            $(
                #[doc = concat!("`", error_table!(@name $constant $($name)?), "`")]
                pub const $constant: Self = Self($number);
            )*

            /// Every code of this build, in order.
            pub const ALL: &[Self] = &[$(Self::$constant),*];

            /// What it is called; `None` for a code that this build does not know.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(error_table!(@name $constant $($name)?)),)*
                    _ => None,
                }
            }

            /// Whether the same request may succeed later. An unknown code is taken as final.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self.0 {
                    $($number => error_table!(@ $retriable),)*
                    _ => false,
                }
            }

            /// Takes a number from elsewhere.
            #[must_use]
            pub const fn new(number: $ty) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn number(self) -> $ty {
                self.0
            }

            /// Whether this is success.
            #[must_use]
            pub const fn is_none(self) -> bool {
                self.0 == 0
            }
        }

        impl std::fmt::Display for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "error {}", self.0),
                }
            }
        }

        impl std::fmt::Debug for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}: {self}", self.0)
            }
        }
    };
    (@name $constant:ident $name:literal) => { $name };
    (@name $constant:ident) => { stringify!($constant) };
    (@ again) => { true };
    (@ final) => { false };
}

pub(crate) use error_table;
