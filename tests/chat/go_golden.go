// Renders templates with Go's own text/template: {template, data} a line in, {text} or {error} a line out.
// See test_go_template.py.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"text/template"
)

type message struct {
	Role, Content, Thinking string
	Images, ToolCalls       []string
	ToolName, ToolCallID    string
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	for in.Scan() {
		var c struct {
			Template string
			Data     map[string]json.RawMessage
		}
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			panic(err)
		}
		data := map[string]any{}
		for k, v := range c.Data {
			if k == "Messages" {
				var ms []*message
				if err := json.Unmarshal(v, &ms); err != nil {
					panic(err)
				}
				data[k] = ms
				continue
			}
			var x any
			d := json.NewDecoder(bytes.NewReader(v))
			d.UseNumber()
			d.Decode(&x)
			if n, ok := x.(json.Number); ok {
				i, _ := n.Int64()
				x = int(i)
			}
			data[k] = x
		}
		out := map[string]string{}
		t, err := template.New("").Option("missingkey=zero").Funcs(template.FuncMap{"json": func(v any) string {
			b, _ := json.Marshal(v)
			return string(b)
		}}).Parse(c.Template)
		if err != nil {
			out["error"] = "parse: " + err.Error()
		} else {
			var b bytes.Buffer
			if err := t.Execute(&b, data); err != nil {
				out["error"] = "exec: " + err.Error()
			} else {
				out["text"] = b.String()
			}
		}
		b, _ := json.Marshal(out)
		fmt.Println(string(b))
	}
}
