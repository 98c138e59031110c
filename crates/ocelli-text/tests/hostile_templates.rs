//! Templates from bad files: each ends soon, with a clear error, without taking much memory.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::time::{Duration, Instant};

use ocelli_text::{ChatTemplate, Error, Message, RenderOptions, Role, Specials};

/// A fraction of a second in a release build on a machine of its own; without the budgets it would be years.
const LONGEST: Duration = Duration::from_secs(20);

fn specials() -> Specials {
    Specials {
        control: vec!["<|im_start|>".into(), "<|im_end|>".into()],
        ..Specials::default()
    }
}

/// The error of a template at load or at the first rendering, and how long that took.
fn fails(source: &str) -> (String, Duration) {
    let start = Instant::now();
    let render = |template: ChatTemplate| {
        template.render(
            &[Message::text(Role::User, "hello")],
            &RenderOptions::default(),
        )
    };
    let result = ChatTemplate::new(source, specials()).and_then(render);
    let shown = source.chars().take(200).collect::<String>();
    let error = result
        .err()
        .unwrap_or_else(|| panic!("no error: {shown}"))
        .to_string();
    assert!(
        error.len() < 1000,
        "{} bytes of error: {shown}",
        error.len()
    );
    (error, start.elapsed())
}

/// Renders only when it is not the test message of the probe, so that the attack runs and nothing else.
fn attack(body: &str) -> (String, Duration) {
    fails(&format!("{{{{ messages[0].content }}}}{body}"))
}

#[test]
fn endless_loops_exceed_the_step_budget() {
    for body in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{{ b }}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ n }}{% if n < 40 %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}{% endmacro %}{{ f(0) }}",
    ] {
        let (error, time) = attack(body);
        assert!(
            error.contains("budget") || error.contains("output"),
            "{error}"
        );
        assert!(time < LONGEST, "{time:?}: {body}");
    }
}

#[test]
fn growing_values_exceed_the_memory_budget() {
    let doubling = |step: &str| {
        format!(
            "{{% set ns = namespace(s='xxxxxxxx', l=['x'], d={{}}) %}}{{% for i in range(99) %}}{step}{{% endfor %}}{{{{ ns.s }}}}"
        )
    };
    for step in [
        "{% set ns.s = ns.s ~ ns.s %}",
        "{% set ns.s = ns.s + ns.s %}",
        "{% set ns.s = '' ~ ns.s ~ ns.s %}",
        "{% set ns.s = [ns.s, ns.s] | join %}",
        "{% set ns.s = ''.join([ns.s, ns.s]) %}",
        "{% set ns.s = ns.s.replace('x', 'xx') %}",
        "{% set ns.s = ns.s | replace('x', 'xx') %}",
        "{% set ns.s = ns.s.replace('', ns.s) %}",
        "{% set ns.s = '{}{}'.format(ns.s, ns.s) %}",
        "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}",
        "{% set ns.s = [ns.s] | tojson | tojson %}",
        "{% set ns.s = ns.s * 2 %}",
        "{% set ns.l = [ns.l, ns.l] %}{% set ns.s = ns.l == ns.l %}",
        "{% set ns.l = ns.l + ns.l %}",
        "{% set ns.l = ns.l * 2 %}",
        "{% set ns.d = dict(a=ns.d, b=ns.d) %}",
        "{% set ns.d = {'a': ns.d, 'b': ns.d} %}{% set ns.s = ns.d | string %}",
    ] {
        let (error, time) = attack(&doubling(step));
        assert!(error.contains("exceeded its"), "{step}: {error}");
        assert!(time < LONGEST, "{time:?}: {step}");
    }
}

#[test]
fn single_steps_cannot_take_memory_either() {
    for body in [
        "{{ 'x' * 100000000 }}",
        "{{ ('x' * 60000) * 60000 }}",
        "{% for i in range(100000) %}{% set x = 'x' * 65536 %}{% endfor %}",
        "{{ [1] * 100000000 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ {'a': 1} | tojson(indent=1000000000) }}",
        "{{ [1, 2] | batch(1000000000, 'x') | list }}",
        "{{ range(100000000) | list }}",
        "{{ 'x' | format(1) }}",
    ] {
        let (error, time) = attack(body);
        assert!(time < LONGEST, "{time:?}: {body}: {error}");
    }
    let raw = "y".repeat(200_000);
    for body in [
        format!("{{% for i in range(100000) %}}{raw}{{% endfor %}}"),
        format!("{{% set x %}}{{% for i in range(100000) %}}{raw}{{% endfor %}}{{% endset %}}"),
        format!(
            "{{% macro m() %}}{raw}{{% endmacro %}}{{% set x %}}{{% for i in range(99999) %}}{{{{ m() }}}}{{% endfor %}}{{% endset %}}"
        ),
    ] {
        let (error, time) = attack(&body);
        assert!(time < LONGEST, "{time:?}: {error}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    for body in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(5000), "]".repeat(5000)),
        format!("{{{{ {}1 }}}}", "-".repeat(250_000)),
        format!("{{{{ {}1 }}}}", "- ".repeat(100_000)),
        format!("{{{{ {}true }}}}", "not ".repeat(60_000)),
        format!("{{{{ 1{} }}}}", " ~ 1".repeat(60_000)),
        format!("{{{{ 1{} }}}}", "|string".repeat(30_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(100_000)),
        format!("{{{{ x{} }}}}", "[0]".repeat(80_000)),
        format!("{{{{ x{} }}}}", " if 1 else 1".repeat(20_000)),
        format!("{{{{ x{} }}}}", " and 1".repeat(40_000)),
        format!("{{{{ x{} }}}}", " is not none".repeat(20_000)),
        format!("{{{{ 2{} }}}}", "**1".repeat(80_000)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000)),
        format!("{}{}", "{% for x in [1] %}".repeat(8000), "{% endfor %}".repeat(8000)),
        format!("{}{}", "{% macro f() %}".repeat(8000), "{% endmacro %}".repeat(8000)),
        format!("{}{}", "{% if true %}".repeat(5000), "{% endif %}".repeat(5000)),
        "{% set ns = namespace(l=[]) %}{% for i in range(50000) %}{% set ns.l = [ns.l] %}{% endfor %}".to_owned(),
    ] {
        let (error, time) = attack(&body);
        assert!(time < LONGEST, "{time:?}: {error}");
    }
}

#[test]
fn bad_templates_name_the_line_and_the_cause() {
    for (source, needs) in [
        ("a\nb\n{% if %}", "line 3"),
        ("a\n{% if true %}", "chat template"),
        ("{{ messages[0].content }}\n\n{{ 'x' | foo }}", "line 3"),
        ("{{ messages[0].content }}\n{{ 'x' | foo }}", "foo"),
        ("x {{ 'unclosed", "line 1"),
        ("{% include 'other' %}", "`include`"),
        ("{% import 'other' as x %}", "`import`"),
        ("{% extends 'other' %}", "`extends`"),
        ("{% from 'x' import y %}", "`from`"),
        ("{% call f() %}{% endcall %}", "`call`"),
        ("constant", "without its text"),
        ("{{ raise_exception('no' ~ 'pe') }}", "nope"),
    ] {
        let (error, _) = fails(source);
        assert!(error.contains(needs), "{source}: {error}");
    }
    let (error, _) = fails(&"x".repeat(300_000));
    assert!(
        error.contains("300000 bytes") && error.contains("262144"),
        "{error}"
    );
}

#[test]
fn a_raised_message_is_cut() {
    let source = "{{ messages[0].content }}{% if messages | length > 1 %}{{ raise_exception('x' * 60000) }}{% endif %}";
    let template = ChatTemplate::new(source, specials()).unwrap();
    let messages = [
        Message::text(Role::User, "a"),
        Message::text(Role::User, "b"),
    ];
    let error = template
        .render(&messages, &RenderOptions::default())
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused { message } if message.len() == 200),
        "{error}"
    );
}

#[test]
fn arguments_cannot_take_the_engines_names() {
    let template = ChatTemplate::new("{{ messages[0].content }}", specials()).unwrap();
    let render = |name: &str, value: serde_json::Value| {
        let mut options = RenderOptions::default();
        options.arguments.insert(name.into(), value);
        template
            .render(&[Message::text(Role::User, "a")], &options)
            .err()
            .map(|error| error.to_string())
    };
    for name in ["messages", "tools", "tokenize", "bos_token"] {
        assert!(render(name, true.into()).unwrap().contains(name));
    }
    assert!(
        render("long", "x".repeat(1 << 20).into())
            .unwrap()
            .contains("bytes")
    );
    assert!(render("a b", true.into()).is_some());
    assert!(render("enable_thinking", false.into()).is_none());
}

#[test]
fn a_template_with_two_places_for_one_picture_is_refused() {
    let source = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}\
                  {{ p.text }}<|im_start|>{% if p.type == 'image' %}<|im_start|>{% endif %}{% endfor %}{% endif %}{% endfor %}";
    let mut specials = specials();
    specials.media = ocelli_text::MediaMarkers::new("<|im_start|>", "<|im_start|>");
    let error = ChatTemplate::new(source, specials).unwrap_err().to_string();
    assert!(error.contains("need 1 and 0"), "{error}");
}

#[test]
fn conditions_on_what_messages_say_are_listed() {
    let source = "{% for m in messages %}\n{% if m.content is string and 'magic' in m.content %}x{% endif %}{{ m.content }}{% endfor %}";
    let template = ChatTemplate::new(source, specials()).unwrap();
    let [condition] = template.flags_content_conditionals() else {
        panic!("one")
    };
    assert!(condition.starts_with("line 2:") && condition.contains("magic"));
    let plain = ChatTemplate::new(
        "{% if messages[0]['role'] == 'user' %}{{ messages[0]['content'] }}{% endif %}",
        specials(),
    );
    assert!(plain.unwrap().flags_content_conditionals().is_empty());
}
