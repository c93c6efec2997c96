//! `#[lip::main]`: makes a program out of one async function. Knows nothing of the host; see the crate `symphony-lip`.

use proc_macro::TokenStream;
use quote::quote;
use syn::{parse_macro_input, Error, FnArg, ItemFn};

/// The program's entry point: `async fn app(args: Args) -> Result<Output>`, or without arguments.
///
/// `Args` is any `serde::Deserialize` type (arguments arrive as a JSON object), `Output` any `serde::Serialize` type, and
/// the error any type that can be displayed; its text is what the caller sees.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    match expand(&attribute, &function) {
        Ok(tokens) => tokens.into(),
        Err(error) => error.to_compile_error().into(),
    }
}

fn expand(attribute: &TokenStream, function: &ItemFn) -> Result<proc_macro2::TokenStream, Error> {
    let signature = &function.sig;
    if !attribute.is_empty() {
        return Err(Error::new_spanned(signature, "#[lip::main] takes no arguments"));
    }
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(signature.fn_token, "#[lip::main] needs an `async fn`"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, "#[lip::main] cannot be generic"));
    }
    let name = &signature.ident;
    let entry = match signature.inputs.len() {
        0 => quote!(|_: ::lip::NoArgs| #name()),
        1 if matches!(signature.inputs[0], FnArg::Typed(_)) => quote!(#name),
        _ => {
            let what = "#[lip::main] takes one argument: a struct that derives serde::Deserialize";
            return Err(Error::new_spanned(&signature.inputs, what));
        }
    };
    Ok(quote! {
        #function

        const _: () = {
            struct Program;
            impl ::lip::__private::Guest for Program {
                fn run(args: ::std::string::String) -> ::std::result::Result<::std::string::String, ::std::string::String> {
                    ::lip::__private::run(&args, #entry)
                }
            }
            ::lip::__private::export!(Program with_types_in ::lip::__private::bindings);
        };
    })
}
