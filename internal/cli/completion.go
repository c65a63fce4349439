package cli

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
func (c *completionCmd) Run(env Env, app *kong.Context) error {
	commands := completions(app.Model.Node, "")
	slices.SortFunc(commands, func(a, b completion) int { return strings.Compare(a.path, b.path) })
	script := map[string]func([]completion) string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	_, err := fmt.Fprint(env.Out, script(commands))
	return err
}

// completion is what can follow a command.
type completion struct {
	path  string // such as "stats trends"; "" for khook itself
	words []completionWord
	flags []*kong.Flag // those that take a value
}

type completionWord struct{ text, help string }

func completions(n *kong.Node, path string) []completion {
	c := completion{path: path}
	var all []completion
	for _, child := range n.Children {
		if child.Hidden {
			continue
		}
		c.words = append(c.words, completionWord{child.Name, child.Help})
		all = append(all, completions(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	for _, group := range n.AllFlags(true) {
		c.add(group)
	}
	if n.DefaultCmd != nil {
		c.add(n.DefaultCmd.Flags)
	}
	for _, a := range n.Positional {
		for _, value := range enumValues(a) {
			c.words = append(c.words, completionWord{value, ""})
		}
	}
	return append(all, c)
}

func (c *completion) add(flags []*kong.Flag) {
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		c.words = append(c.words, completionWord{"--" + f.Name, f.Help})
		if !f.IsBool() {
			c.flags = append(c.flags, f)
		}
	}
}

// enumValues are what a flag or an argument can be, if that is one of a few words: by its enum, or as its tag offers.
func enumValues(v *kong.Value) []string {
	words := v.Enum
	if words == "" {
		words = v.Tag.Get("offer")
	}
	return strings.FieldsFunc(words, func(r rune) bool { return r == ',' })
}

func (c completion) texts() string {
	texts := make([]string, len(c.words))
	for i, w := range c.words {
		texts[i] = w.text
	}
	return strings.Join(texts, " ")
}

// bashScript has no variable with a name that is special in zsh, such as path and words. Where a
// flag's value can be anything, it offers no words, and the shell completes the names of files.
func bashScript(commands []completion) string {
	var b strings.Builder
	b.WriteString(`_khook() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= w= offer=
  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
  for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "${at:+$at }$w" in
`)
	var paths []string
	for _, c := range commands {
		if c.path != "" {
			paths = append(paths, fmt.Sprintf("%q", c.path))
		}
	}
	fmt.Fprintf(&b, "      %s) at=\"${at:+$at }$w\";;\n    esac\n  done\n  case \"$at:$prev\" in\n", strings.Join(paths, "|"))
	for _, c := range commands {
		for _, f := range c.flags {
			names := fmt.Sprintf("%q", c.path+":--"+f.Name)
			if f.Short != 0 {
				names += fmt.Sprintf("|%q", c.path+":-"+string(f.Short))
			}
			fmt.Fprintf(&b, "    %s) offer=%q;;\n", names, strings.Join(enumValues(f.Value), " "))
		}
	}
	b.WriteString("    *) case \"$at\" in\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "      %q) offer=%q;;\n", c.path, c.texts())
	}
	b.WriteString(`    esac;;
  esac
  COMPREPLY=($(compgen -W "$offer" -- "$cur"))
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
			if !isFlag {
				fmt.Fprintf(&b, "complete -c khook -f -n %s -a %s -d %s\n", at, w.text, quote(w.help))
				continue
			}
			fmt.Fprintf(&b, "complete -c khook -n %s -l %s%s -d %s\n", at, name, fishValue(c, name, quote), quote(w.help))
		}
	}
	return b.String()
}

// fishValue says whether a flag takes a value, and which it can be.
func fishValue(c completion, name string, quote func(string) string) string {
	i := slices.IndexFunc(c.flags, func(f *kong.Flag) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	short := ""
	if f := c.flags[i]; f.Short != 0 {
		short = " -s " + string(f.Short)
	}
	if all := enumValues(c.flags[i].Value); len(all) > 0 {
		return short + " -x -a " + quote(strings.Join(all, " "))
	}
	return short + " -r"
}
