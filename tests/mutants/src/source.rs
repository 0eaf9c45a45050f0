//! One file with all its mutants in it, each asleep until its number is called.

use proc_macro2::Span;
use quote::ToTokens as _;
use syn::parse::ParseStream;
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Expr, Item, Pat, Stmt, parse_quote};

/// Methods whose closure says yes or no.
const ASKS: [&str; 9] =
    ["filter", "is_some_and", "is_none_or", "any", "all", "retain", "find", "position", "partition"];
/// Enums whose values are reasons against.
const REASONS: [&str; 3] = ["Refusal", "Hold", "Disagreement"];
/// Lists of reasons against.
const LISTS: [&str; 3] = ["refusals", "holds", "problems"];
/// Functions that only put words to what was decided.
const WORDS: [&str; 4] = ["fmt", "word", "reason", "raised_by"];

/// One place in which the source can be changed for the worse.
#[derive(Debug, Clone)]
pub struct Mutant {
    pub number: u32,
    pub file: String,
    pub line: usize,
    pub function: String,
    /// What is done to which expression.
    pub change: String,
}

/// The rewritten file; numbers go on from those in `found`.
pub fn mutate(name: &str, text: &str, found: &mut Vec<Mutant>) -> syn::Result<String> {
    let mut file = syn::parse_file(text)?;
    let mut mutator = Mutator { file: name, function: String::new(), found };
    mutator.visit_file_mut(&mut file);
    strip(&mut file.items);
    Ok(file.to_token_stream().to_string())
}

/// The file without its property tests.
pub fn without_properties(text: &str) -> syn::Result<String> {
    let mut file = syn::parse_file(text)?;
    strip(&mut file.items);
    Ok(file.to_token_stream().to_string())
}

fn strip(items: &mut Vec<Item>) {
    items.retain(|item| match item {
        Item::Macro(item) => !item.mac.path.is_ident("proptest"),
        Item::Use(item) => !item.tree.to_token_stream().to_string().starts_with("proptest"),
        _ => true,
    });
    for item in items {
        if let Item::Mod(module) = item
            && let Some((_, items)) = &mut module.content
        {
            strip(items);
        }
    }
}

struct Mutator<'a> {
    file: &'a str,
    function: String,
    found: &'a mut Vec<Mutant>,
}

impl Mutator<'_> {
    /// The call that is true when this mutant is awake.
    fn awake(&mut self, at: Span, change: &str, of: &impl quote::ToTokens) -> Expr {
        let number = u32::try_from(self.found.len()).unwrap_or(u32::MAX);
        let text: String = of.to_token_stream().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        self.found.push(Mutant {
            number,
            file: self.file.to_owned(),
            line: at.start().line,
            function: self.function.clone(),
            change: format!("{change}: {text}"),
        });
        parse_quote!(crate::__mutant(#number))
    }

    /// Nothing more of a comparison: it is taken out wherever it stands.
    fn never(&mut self, condition: &mut Expr, original: &Expr) {
        if !compares(original) {
            let awake = self.awake(original.span(), "never", original);
            *condition = parse_quote!(((#condition) && !#awake));
        }
    }

    fn always(&mut self, condition: &mut Expr, original: &Expr) {
        if !compares(original) {
            let awake = self.awake(original.span(), "always", original);
            *condition = parse_quote!(((#condition) || #awake));
        }
    }

    /// A condition that may hold `let`: its operands are dropped one by one, and all of it at once.
    fn chain(&mut self, condition: &mut Expr) {
        let original = condition.clone();
        if has_let(condition) {
            self.links(condition);
            let awake = self.awake(original.span(), "never", &original);
            *condition = parse_quote!(#condition && !#awake);
        } else {
            self.visit_expr_mut(condition);
            self.never(condition, &original);
            self.always(condition, &original);
        }
    }

    fn links(&mut self, condition: &mut Expr) {
        match condition {
            Expr::Binary(both) if matches!(both.op, BinOp::And(_)) => {
                self.links(&mut both.left);
                self.links(&mut both.right);
            }
            Expr::Let(bound) => self.visit_expr_mut(&mut bound.expr),
            other => {
                let original = other.clone();
                self.visit_expr_mut(other);
                self.always(other, &original);
            }
        }
    }

    fn binary(&mut self, both: &mut syn::ExprBinary) {
        let (left, right) = (both.left.clone(), both.right.clone());
        self.visit_expr_mut(&mut both.left);
        self.visit_expr_mut(&mut both.right);
        match both.op {
            BinOp::And(_) => {
                self.always(&mut both.left, &left);
                self.always(&mut both.right, &right);
            }
            BinOp::Or(_) => {
                self.never(&mut both.left, &left);
                self.never(&mut both.right, &right);
            }
            _ => {}
        }
    }

    fn method(&mut self, call: &mut syn::ExprMethodCall) -> Option<Expr> {
        let original = call.clone();
        visit_mut::visit_expr_method_call_mut(self, call);
        let name = call.method.to_string();
        if ASKS.contains(&name.as_str())
            && let (Some(Expr::Closure(closure)), Some(Expr::Closure(asked))) =
                (call.args.first_mut(), original.args.first())
        {
            self.never(&mut closure.body, &asked.body);
            self.always(&mut closure.body, &asked.body);
        }
        if name == "then_some" || name == "then" {
            self.never(&mut call.receiver, &original.receiver);
        }
        // A floor or a ceiling that is not there.
        if (name == "max" || name == "min") && call.args.len() == 1 {
            let awake = self.awake(original.span(), "unbounded", &original);
            let (receiver, whole) = (&call.receiver, &*call);
            // Cloned: behind a reference it is what the method itself would have seen.
            return Some(parse_quote!((if #awake { (#receiver).clone() } else { #whole })));
        }
        if name == "clamp"
            && let (Some(least), Some(most)) = (call.args.first(), call.args.last())
        {
            let (no_floor, no_ceiling) = (
                self.awake(original.span(), "no floor", &original),
                self.awake(original.span(), "no ceiling", &original),
            );
            let (receiver, whole) = (&call.receiver, &*call);
            return Some(parse_quote!((if #no_floor { (#receiver).min(#most) }
                else if #no_ceiling { (#receiver).max(#least) } else { #whole })));
        }
        if name == "contains"
            && let Expr::Paren(range) = &*call.receiver
            && let Expr::Range(range) = &*range.expr
        {
            let (mut below, mut above) = (range.clone(), range.clone());
            (below.start, above.end, above.limits) = (None, None, syn::RangeLimits::HalfOpen(Default::default()));
            let (no_floor, no_ceiling) = (
                self.awake(original.span(), "no floor", &original),
                self.awake(original.span(), "no ceiling", &original),
            );
            let (asked, whole) = (&call.args, &*call);
            return Some(parse_quote!((if #no_floor { (#below).contains(#asked) }
                else if #no_ceiling { (#above).contains(#asked) } else { #whole })));
        }
        None
    }

    /// `matches!` with each of its patterns apart.
    fn matches(&mut self, of: &syn::ExprMacro) -> Option<Expr> {
        if !of.mac.path.is_ident("matches") {
            return None;
        }
        let parsed = of.mac.parse_body_with(|input: ParseStream<'_>| {
            let value: Expr = input.parse()?;
            input.parse::<syn::Token![,]>()?;
            let patterns = Pat::parse_multi_with_leading_vert(input)?;
            let guard: Option<Expr> =
                if input.parse::<Option<syn::Token![if]>>()?.is_some() { Some(input.parse()?) } else { None };
            input.parse::<Option<syn::Token![,]>>()?;
            Ok((value, patterns, guard))
        });
        let (value, patterns, None) = parsed.ok()? else { return None };
        let patterns: Vec<Pat> = match patterns {
            Pat::Or(many) => many.cases.into_iter().collect(),
            one => vec![one],
        };
        let awake: Vec<Expr> = patterns.iter().map(|pattern| self.awake(of.span(), "not matched", pattern)).collect();
        Some(parse_quote!((match #value { #(#patterns if !#awake => true,)* _ => false })))
    }
}

impl VisitMut for Mutator<'_> {
    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        let is_test = |it: &syn::Attribute| it.meta.to_token_stream().to_string().replace(' ', "") == "cfg(test)";
        if !module.attrs.iter().any(is_test) {
            visit_mut::visit_item_mod_mut(self, module);
        }
    }

    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        // A mutant asks its environment: nothing of it is constant.
        function.sig.constness = None;
        self.function = function.sig.ident.to_string();
        if !WORDS.contains(&self.function.as_str()) {
            visit_mut::visit_item_fn_mut(self, function);
        }
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        function.sig.constness = None;
        self.function = function.sig.ident.to_string();
        if !WORDS.contains(&self.function.as_str()) {
            visit_mut::visit_impl_item_fn_mut(self, function);
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        visit_mut::visit_pat_mut(self, &mut arm.pat);
        if let Some((_, guard)) = &mut arm.guard {
            let original = (**guard).clone();
            self.visit_expr_mut(guard);
            self.never(guard, &original);
        }
        self.visit_expr_mut(&mut arm.body);
    }

    /// A `matches!` in full: what is plainly yes or no is the other, kind by kind.
    fn visit_expr_match_mut(&mut self, of: &mut syn::ExprMatch) {
        let mut arms = Vec::new();
        for mut arm in std::mem::take(&mut of.arms) {
            let Some(plain) = plain_word(&arm) else {
                self.visit_arm_mut(&mut arm);
                arms.push(arm);
                continue;
            };
            let change = if plain { "not matched" } else { "matched" };
            let patterns = match &arm.pat {
                Pat::Or(many) => many.cases.iter().collect(),
                one => vec![one],
            };
            for pattern in patterns {
                let awake = self.awake(pattern.span(), change, pattern);
                let other = !plain;
                arms.push(parse_quote!(#pattern if #awake => #other,));
            }
            arms.push(arm);
        }
        of.arms = arms;
        self.visit_expr_mut(&mut of.expr);
    }

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        let original = statement.clone();
        visit_mut::visit_stmt_mut(self, statement);
        let Stmt::Expr(expr, Some(_)) = &original else { return };
        let judges = match expr {
            // What a function adds to the reasons, whole.
            Expr::Call(call) => matches!(&*call.func, Expr::Path(_)),
            Expr::MethodCall(call) => matches!(&*call.receiver, Expr::Path(path)
                if path.path.get_ident().is_some_and(|ident| LISTS.contains(&ident.to_string().as_str()))),
            _ => false,
        };
        if judges {
            let awake = self.awake(expr.span(), "left out", expr);
            let inner = statement.clone();
            *statement = parse_quote!(if !#awake { #inner });
        }
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let replaced = match &mut *expr {
            Expr::If(branch) => {
                self.chain(&mut branch.cond);
                self.visit_block_mut(&mut branch.then_branch);
                if let Some((_, other)) = &mut branch.else_branch {
                    self.visit_expr_mut(other);
                }
                None
            }
            Expr::Binary(both) => {
                let original = Expr::Binary(both.clone());
                self.binary(both);
                compares(&original).then(|| {
                    let (never, always) = (
                        self.awake(original.span(), "never", &original),
                        self.awake(original.span(), "always", &original),
                    );
                    parse_quote!((((#both) && !#never) || #always))
                })
            }
            Expr::MethodCall(call) => self.method(call),
            Expr::Macro(call) => self.matches(call),
            Expr::Call(call) => {
                let original = call.clone();
                visit_mut::visit_expr_call_mut(self, call);
                let is_some = matches!(&*call.func, Expr::Path(path) if path.path.is_ident("Some"));
                let reason = call.args.first().filter(|_| is_some).is_some_and(is_reason);
                reason.then(|| {
                    let awake = self.awake(original.span(), "no reason", &original);
                    parse_quote!((if #awake { None } else { #call }))
                })
            }
            Expr::Tuple(tuple) => {
                let original = tuple.clone();
                visit_mut::visit_expr_tuple_mut(self, tuple);
                if tuple.elems.len() == 2
                    && tuple.elems.last().is_some_and(is_reason)
                    && let (Some(condition), Some(was)) = (tuple.elems.first_mut(), original.elems.first())
                {
                    self.never(condition, was);
                }
                None
            }
            other => {
                visit_mut::visit_expr_mut(self, other);
                None
            }
        };
        if let Some(replaced) = replaced {
            *expr = replaced;
        }
    }
}

fn has_let(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(both) => has_let(&both.left) || has_let(&both.right),
        _ => false,
    }
}

fn compares(expr: &Expr) -> bool {
    matches!(expr, Expr::Binary(both) if matches!(
        both.op,
        BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) | BinOp::Eq(_) | BinOp::Ne(_)
    ))
}

/// What an arm says that says yes or no, whatever it is given.
fn plain_word(arm: &syn::Arm) -> Option<bool> {
    let body = match &*arm.body {
        Expr::Block(block) => match &*block.block.stmts {
            [Stmt::Expr(only, None)] => only,
            _ => return None,
        },
        other => other,
    };
    match (&arm.guard, body) {
        (None, Expr::Lit(syn::ExprLit { lit: syn::Lit::Bool(plain), .. })) => Some(plain.value),
        _ => None,
    }
}

/// A value of one of the enums of reasons.
fn is_reason(expr: &Expr) -> bool {
    let path = match expr {
        Expr::Path(path) => &path.path,
        Expr::Struct(value) => &value.path,
        _ => return false,
    };
    path.segments.len() == 2 && path.segments.first().is_some_and(|it| REASONS.contains(&it.ident.to_string().as_str()))
}
