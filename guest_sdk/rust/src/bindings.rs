//! The bindings of the system calls, generated at build time from the one copy of the ABI, `wit/`.

#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    world: "symphony:lip/lip",
    path: "../../wit",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export",
    additional_derives: [Clone],
});

/// WASI's clock of the day, which every host serves beside the ABI; a program that never asks does not import it.
pub(crate) mod wall {
    wit_bindgen::generate!({
        inline: "
            package wasi:clocks@0.2.6;
            interface wall-clock {
                record datetime { seconds: u64, nanoseconds: u32 }
                now: func() -> datetime;
                resolution: func() -> datetime;
            }
            world day { import wall-clock; }
        ",
        world: "wasi:clocks/day",
        generate_all,
    });
}
