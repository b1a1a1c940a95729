"""Reads pairs of lines, a message in XML and the same in JSON, each as a JSON string, and writes for
each pair what xml-to-json() makes of the first and json-to-xml() of the second, in the same form."""

import json
import sys

from saxonche import PySaxonProcessor

with PySaxonProcessor(license=False) as processor:
    xpath = processor.new_xpath_processor()
    xpath.declare_variable("xml")
    xpath.declare_variable("json")
    lines = iter(sys.stdin)
    for xml, text in zip(lines, lines):
        xpath.set_parameter("xml", processor.make_string_value(json.loads(xml)))
        xpath.set_parameter("json", processor.make_string_value(json.loads(text)))
        to_json = xpath.evaluate_single("xml-to-json(parse-xml($xml))")
        to_xml = xpath.evaluate_single("serialize(json-to-xml($json, map { 'escape': true() }))")
        for result in (to_json, to_xml):
            if result is None:
                sys.exit(f"no answer for {xml}: {xpath.error_message}")
            print(json.dumps(result.string_value))
