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
