//! What expressions select, and how bad ones are refused.

use super::*;
use agent_core::model::check::{Check, Status};
use agent_core::model::health::Instance;
use agent_core::model::node::Node;
use agent_core::model::service::Service;

fn node() -> Node {
    Node {
        name: "n1".into(),
        address: "127.0.0.1".into(),
        datacenter: "dc1".into(),
        meta: [("rack".into(), "7".into()), ("a b".into(), "c".into())].into(),
        ..Node::default()
    }
}

fn instance() -> Instance {
    let service = Service {
        id: "web".into(),
        name: "web".into(),
        tags: vec!["a".into(), "b".into()],
        port: 80,
        ..Service::default()
    };
    let check = |id: &str, status| Check { id: id.into(), status, ..Check::default() };
    Instance {
        node: node().into(),
        service: service.into(),
        checks: vec![check("c1", Status::Passing).into(), check("c2", Status::Warning).into()],
    }
}

fn error<T: Selectable>(text: &str) -> String {
    let text = Filter::<T>::parse(text).err().expect("it is refused").to_string();
    let heading = "Failed to create boolean expression evaluator: ";
    text.strip_prefix(heading).expect("it has the heading").into()
}

#[test]
fn nodes_are_filtered_as_consul_filters_them() {
    for (text, fits) in [
        ("Node==n1", true),
        ("Node == \"n1\"", true),
        ("Node == `n1`", true),
        ("Node contains n", true),
        ("n1 in Node", true),
        ("\"n\" not in Node", false),
        ("Node matches \"^n\"", true),
        ("Node not matches \"^n\"", false),
        ("not Node == n1", false),
        ("not not Node == n1", true),
        ("Meta is empty", false),
        ("Meta is not empty", true),
        ("Meta contains rack", true),
        ("rack not in Meta", false),
        ("Meta.rack == 7", true),
        ("Meta[\"a b\"] == c", true),
        ("Meta.nope == \"\"", false),
        ("Meta.nope != x", true),
        ("Datacenter==dc2 or Datacenter == dc1 and Node == n1", true),
        ("(Datacenter==dc1 or Datacenter == dc2) and ( Node == q )", false),
        ("  Node == n1  ", true),
        ("Node == 1.5", false),
    ] {
        let filter = Filter::<Node>::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(filter.fits(&node()), fits, "{text}");
    }
}

#[test]
fn one_check_of_several_is_enough() {
    for (text, fits) in [
        ("Service.Port==80", true),
        ("Service.EnableTagOverride==false", true),
        ("Checks.Status==warning", true),
        ("Checks.Status!=warning", true),
        ("Checks.Status==critical", false),
        ("Checks is empty", false),
        ("Service.Tags contains a", true),
        ("z not in Service.Tags", true),
        ("Service.TaggedAddresses.lan.Address==x", false),
        ("Service.TaggedAddresses is empty", true),
        ("Service.Weights.Passing==1", true),
        ("Service.Proxy.DestinationServiceName==\"\"", true),
        ("Service.Connect.Native==false", true),
        ("Node.Meta.rack==7", true),
    ] {
        let filter = Filter::<Instance>::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(filter.fits(&instance()), fits, "{text}");
    }
}

#[test]
fn bad_grammar_is_refused_in_consuls_words() {
    let after_selector = "\"!=\", \".\", \"==\", \"[\", [ \\t\\r\\n] or [a-zA-Z0-9_]";
    for (text, why) in [
        ("bad(((", format!("1:4 (3): no match found, expected: {after_selector}")),
        ("Node", format!("1:5 (4): no match found, expected: {after_selector}")),
        (
            "Node==",
            "1:7 (6): no match found, expected: \"-\", \"0\", \"\\\"\", \"`\", [ \\t\\r\\n], [1-9] \
             or [a-zA-Z]"
                .into(),
        ),
        (
            "Node is bogus",
            "1:9 (8): no match found, expected: \"empty\", \"not\" or [ \\t\\r\\n]".into(),
        ),
        (
            "Node AND Node==n1",
            "1:6 (5): no match found, expected: \"!=\", \"==\", \"contains\", \"in\", \"is\", \
             \"matches\", \"not\" or [ \\t\\r\\n]"
                .into(),
        ),
        (
            "Node == n1 extra",
            "1:12 (11): no match found, expected: \"and\", \"or\", [ \\t\\r\\n] or EOF".into(),
        ),
        (
            "Node == n1)",
            "1:11 (10): no match found, expected: \".\", \"[\", [ \\t\\r\\n], [a-zA-Z0-9_] or EOF"
                .into(),
        ),
        ("(Node==n1", "1:10 (9): rule \"grouping\": Unmatched parentheses".into()),
        ("Node == 127.0.0.1", "1:14 (13): rule \"number\": Invalid number literal".into()),
        ("Node == \"a\\\"b\"", "1:9 (8): rule \"string\": invalid syntax".into()),
    ] {
        assert_eq!(error::<Node>(text), why, "{text}");
    }
}

#[test]
fn what_does_not_fit_a_selector_is_refused_in_consuls_words() {
    for (text, why) in [
        ("Foo==1", "Selector \"Foo\" is not valid"),
        ("node==1", "Selector \"node\" is not valid"),
        ("Node.x == 1", "Selector \"Node.x\" is not valid"),
        ("Meta.a.b == 1", "Selector \"Meta.a.b\" is not valid"),
        ("Meta == 1", "Invalid match operator \"Equal\" for selector \"Meta\""),
        ("Meta.x is empty", "Invalid match operator \"Is Empty\" for selector \"Meta.x\""),
        ("ID is not empty", "Invalid match operator \"Is Not Empty\" for selector \"ID\""),
    ] {
        assert_eq!(error::<Node>(text), why, "{text}");
    }
    for (text, why) in [
        (
            "Service.Port==x",
            "Failed to coerce value \"x\" for selector \"Service.Port\": strconv.ParseInt: parsing \
             \"x\": invalid syntax",
        ),
        (
            "Service.TaggedAddresses.lan==1",
            "Invalid match operator \"Equal\" for selector \"Service.TaggedAddresses.lan\"",
        ),
        ("Checks contains x", "Invalid match operator \"In\" for selector \"Checks\""),
        ("Checks.Definition.TCP==x", "Selector \"Checks.Definition\" is not valid"),
    ] {
        assert_eq!(error::<Instance>(text), why, "{text}");
    }
}

#[test]
fn a_hostile_expression_is_refused_not_followed() {
    let deep = "(".repeat(5000);
    assert!(error::<Node>(&deep).contains("nested too deeply"));
    let long = format!("Node == \"{}\"", "x".repeat(EXPRESSION_BYTES_MAX));
    assert_eq!(error::<Node>(&long), "the expression is too long");
    let pattern = "Node matches \"((x{1000}){1000}){1000}\"";
    assert!(error::<Node>(pattern).contains("regular expression"));
}
