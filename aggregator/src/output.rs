//! `print!`, `println!` and `eprintln!` of this crate, in the place of std's, which panic when the reader is gone (`| head`).
//! See [`foreshadow_agent::output`].

macro_rules! print {
    ($($text:tt)*) => { foreshadow_agent::output::print(format_args!($($text)*)) };
}

macro_rules! println {
    () => { foreshadow_agent::output::print(format_args!("\n")) };
    ($($text:tt)*) => { foreshadow_agent::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { foreshadow_agent::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}
