package cli

import (
	"cmp"
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
	path    string   // such as "stats trends"; "" for khook itself
	aliases []string // other paths to the same
	words   []completionWord
	flags   []*kong.Flag // those that take a value
	asks    string       // of which kind its arguments are, which khook is asked for; "" if they are none
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
		below := completions(child, strings.TrimSpace(path+" "+child.Name))
		for _, alias := range child.Aliases {
			below[len(below)-1].aliases = append(below[len(below)-1].aliases, strings.TrimSpace(path+" "+alias))
		}
		all = append(all, below...)
	}
	for _, group := range n.AllFlags(true) {
		c.add(group)
	}
	arguments := n.Positional
	if n.DefaultCmd != nil {
		c.add(n.DefaultCmd.Flags)
		arguments = append(slices.Clip(arguments), n.DefaultCmd.Positional...)
	}
	for _, a := range arguments {
		for _, value := range enumValues(a) {
			c.words = append(c.words, completionWord{value, ""})
		}
		c.asks = cmp.Or(c.asks, asksOf(a))
	}
	return append(all, c)
}

// asksOf is the kind of things that a flag or an argument names, such as hooks, which a running khook is asked for.
func asksOf(v *kong.Value) string { return v.Tag.Get("complete") }

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

// texts are the words that can follow, and the flags.
func (c completion) texts() (words, flags string) {
	var all, dashed []string
	for _, w := range c.words {
		if strings.HasPrefix(w.text, "--") {
			dashed = append(dashed, w.text)
		} else {
			all = append(all, w.text)
		}
	}
	return strings.Join(all, " "), strings.Join(dashed, " ")
}

// bashScript has no variable with a name that is special in zsh, such as path and words. Where a
// flag's value can be anything, it offers no words, and the shell completes the names of files.
func bashScript(commands []completion) string {
	var b strings.Builder
	b.WriteString(`_khook() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= w= offer= flags= asks=
  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
  for w in "${COMP_WORDS[@]:1:$((COMP_CWORD-1))}"; do
    case "${at:+$at }$w" in
`)
	var paths []string
	for _, c := range commands {
		if c.path != "" {
			paths = append(paths, fmt.Sprintf("%q", c.path))
		}
		for _, alias := range c.aliases {
			fmt.Fprintf(&b, "      %q) at=%q;;\n", alias, c.path)
		}
	}
	fmt.Fprintf(&b, "      %s) at=\"${at:+$at }$w\";;\n    esac\n  done\n  case \"$at:$prev\" in\n", strings.Join(paths, "|"))
	for _, c := range commands {
		for _, f := range c.flags {
			names := fmt.Sprintf("%q", c.path+":--"+f.Name)
			if f.Short != 0 {
				names += fmt.Sprintf("|%q", c.path+":-"+string(f.Short))
			}
			fmt.Fprintf(&b, "    %s) offer=%q asks=%s;;\n", names, strings.Join(enumValues(f.Value), " "), asksOf(f.Value))
		}
	}
	b.WriteString("    *) case \"$at\" in\n")
	for _, c := range commands {
		words, flags := c.texts()
		fmt.Fprintf(&b, "      %q) offer=%q flags=%q asks=%s;;\n", c.path, words, flags, c.asks)
	}
	b.WriteString(`    esac;;
  esac
  if [[ $cur == -* || -z $offer$asks ]]; then
    offer=$flags
  elif [[ -n $asks ]]; then
    offer="$offer $("${COMP_WORDS[0]}" offer "$asks" -- "$cur" "${COMP_LINE-}" 2>/dev/null | cut -f 1)"
  fi
  COMPREPLY=($(compgen -W "$offer" -- "$cur"))
}
complete -o default -F _khook khook kubectl-khook
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
function __khook_offer
  set -l words (commandline -opc)
  $words[1] offer $argv[1] -- (commandline -ct) (commandline -cp | string collect) 2>/dev/null
end
`)
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" }
	for _, c := range commands {
		for _, path := range append([]string{c.path}, c.aliases...) {
			c.fish(&b, quote("__khook_at "+path), quote)
		}
	}
	return b.String()
}

// fish writes what follows a command, where the condition holds that it was typed.
func (c *completion) fish(b *strings.Builder, at string, quote func(string) string) {
	for _, w := range c.words {
		name, isFlag := strings.CutPrefix(w.text, "--")
		if !isFlag {
			fmt.Fprintf(b, "complete -c khook -f -n %s -a %s -d %s\n", at, w.text, quote(w.help))
			continue
		}
		fmt.Fprintf(b, "complete -c khook -n %s -l %s%s -d %s\n", at, name, fishValue(*c, name, quote), quote(w.help))
	}
	if c.asks != "" {
		fmt.Fprintf(b, "complete -c khook -f -n %s -a '(__khook_offer %s)'\n", at, c.asks)
	}
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
	if asks := asksOf(c.flags[i].Value); asks != "" {
		return short + " -x -a '(__khook_offer " + asks + ")'"
	}
	return short + " -r"
}
