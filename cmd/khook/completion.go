package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is khook completion.
type completionCmd struct {
	Shell string `arg:"" help:"The shell: bash, zsh or fish." enum:"bash,zsh,fish"`
}

// Help is shown below the flags.
func (completionCmd) Help() string {
	return `bash: source <(khook completion bash)
zsh:  source <(khook completion zsh), after compinit
fish: khook completion fish | source`
}

// Run prints the script. It is made from the commands and flags themselves.
func (c *completionCmd) Run(io streams, app *kong.Context) error {
	commands := completions(app.Model.Node, "")
	slices.SortFunc(commands, func(a, b completion) int { return strings.Compare(a.path, b.path) })
	script := map[string]func([]completion) string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	_, err := fmt.Fprint(io.out, script(commands))
	return err
}

// completion is what can follow a command.
type completion struct {
	path  string // such as "stats trends"; "" for khook itself
	words []word
	enums map[string][]string // values by flag
}

type word struct{ text, help string }

func completions(n *kong.Node, path string) []completion {
	c := completion{path: path, enums: map[string][]string{}}
	var all []completion
	for _, child := range n.Children {
		if child.Hidden {
			continue
		}
		c.words = append(c.words, word{child.Name, child.Help})
		all = append(all, completions(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	for _, f := range n.Flags {
		if f.Hidden {
			continue
		}
		c.words = append(c.words, word{"--" + f.Name, f.Help})
		if f.Enum != "" {
			c.enums["--"+f.Name] = strings.FieldsFunc(f.Enum, func(r rune) bool { return r == ',' })
		}
	}
	for _, a := range n.Positional {
		for _, value := range strings.FieldsFunc(a.Enum, func(r rune) bool { return r == ',' }) {
			c.words = append(c.words, word{value, ""})
		}
	}
	return append(all, c)
}

func (c completion) texts() string {
	texts := make([]string, len(c.words))
	for i, w := range c.words {
		texts[i] = w.text
	}
	return strings.Join(texts, " ")
}

func bashScript(commands []completion) string {
	var b strings.Builder
	b.WriteString(`_khook() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path= w words=
  for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "${path:+$path }$w" in
`)
	var paths []string
	for _, c := range commands {
		if c.path != "" {
			paths = append(paths, fmt.Sprintf("%q", c.path))
		}
	}
	fmt.Fprintf(&b, "      %s) path=\"${path:+$path }$w\";;\n    esac\n  done\n  case \"$path:$prev\" in\n", strings.Join(paths, "|"))
	for _, c := range commands {
		for flag, values := range c.enums {
			fmt.Fprintf(&b, "    %q) words=%q;;\n", c.path+":"+flag, strings.Join(values, " "))
		}
	}
	b.WriteString("    *) case \"$path\" in\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "      %q) words=%q;;\n", c.path, c.texts())
	}
	b.WriteString(`    esac;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _khook khook
`)
	return b.String()
}

// zshScript uses what bash's does.
func zshScript(commands []completion) string {
	return "autoload -Uz bashcompinit && bashcompinit\n" + bashScript(commands)
}

func fishScript(commands []completion) string {
	var b strings.Builder
	b.WriteString(`function __khook_at
  set -l words (string match -v -- '-*' (commandline -opc))
  test "$words[2..-1]" = "$argv"; or begin; test -n "$argv"; and string match -q -- "$argv *" "$words[2..-1]"; end
end
`)
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" }
	for _, c := range commands {
		at := quote("__khook_at " + c.path)
		for _, w := range c.words {
			name, isFlag := strings.CutPrefix(w.text, "--")
			switch {
			case isFlag && len(c.enums[w.text]) > 0:
				fmt.Fprintf(&b, "complete -c khook -n %s -l %s -x -a %s -d %s\n", at, name, quote(strings.Join(c.enums[w.text], " ")), quote(w.help))
			case isFlag:
				fmt.Fprintf(&b, "complete -c khook -n %s -l %s -d %s\n", at, name, quote(w.help))
			default:
				fmt.Fprintf(&b, "complete -c khook -f -n %s -a %s -d %s\n", at, w.text, quote(w.help))
			}
		}
	}
	return b.String()
}
