/**
 * Completion scripts of shells: those of effect/cli, with files where files stand, and with the methods of the file on the command
 * line, for which they run `callisto describe FILE --names`.
 */
import * as Completions from "effect/cli/Completions"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Console from "effect/Console"
import * as Option from "effect/Option"

/** `--completions`, in place of that of effect/cli. */
export const completions: typeof GlobalFlag.Completions = GlobalFlag.Action({
  flag: GlobalFlag.Completions.flag,
  run: (shell, { command }) =>
    Option.match(shell, {
      onNone: () => Effect.void,
      onSome: (shell) => Console.log(scriptOf(shell, Completions.fromCommand(command)))
    })
})

const files: Completions.ArgumentType = { _tag: "Path", pathType: "file" }
const folders: Completions.ArgumentType = { _tag: "Path", pathType: "directory" }

const argumentTypes: { readonly [name: string]: Completions.ArgumentType | undefined } = {
  FILE: files,
  FOLDER: folders,
  OLD: files,
  NEW: files
}
const flagTypes: { readonly [name: string]: Completions.ArgumentType | undefined } = { out: files, include: folders }

/** Paths are arguments of text for effect/cli, which would make them absolute. */
const withPaths = (command: Completions.CommandDescriptor): Completions.CommandDescriptor => ({
  ...command,
  flags: command.flags.map((flag) => ({ ...flag, type: flagTypes[flag.name] ?? flag.type })),
  arguments: command.arguments.map((argument) => ({
    ...argument,
    type: argumentTypes[argument.name] ?? argument.type
  })),
  subcommands: command.subcommands.map(withPaths)
})

const scriptOf = (shell: Completions.Shell, command: Completions.CommandDescriptor): string => {
  const script = Completions.generate(command.name, shell, withPaths(command))
    // Where zsh expects a method, it asks for those of the file.
    .replace(/((?:A method by its name or number|One method, by its name or number)[^'\n]*:)'/g, "$1_callisto_methods'")
  // A script of zsh ends with its call, where it is loaded as a function.
  const end = script.lastIndexOf(shell === "zsh" ? "# Handle both" : "###-end-")
  const more = methods[shell]
  return more === undefined || end < 0 ? script : script.slice(0, end) + more + script.slice(end)
}

const methods: { readonly [Shell in Completions.Shell]?: string } = {
  bash: `
# Methods, from the file on the command line
_callisto_with_methods()
{
  local cur prev words cword i command="" file="" place=0
  _init_completion -n "$COMP_WORDBREAKS" || return
  for ((i = 1; i < cword; i++)); do
    case "\${words[i]}" in
      --include|--interface|--timeout|--user|--domain|--password-file|--level|--provider|--kdc) ((i += 1)) ;;
      -*) ;;
      *)
        if [[ -z "$command" ]]; then
          command="\${words[i]}"
        else
          ((place += 1))
          case "$command $place" in
            "call 2"|"describe 1") file="\${words[i]}" ;;
          esac
        fi
        ;;
    esac
  done
  if [[ -n "$file" && "$cur" != [-@{\\'\\"]* && ! ("$command" == describe && "$place" -gt 1) ]]; then
    file=\${file//[\\"\\']/}
    COMPREPLY=( $(compgen -W "$(callisto describe "\${file/#\\~\\//$HOME/}" --names 2>/dev/null)" -- "$cur") )
    return
  fi
  _callisto "$@"
}
complete -F _callisto_with_methods callisto
`,
  zsh: `
# Methods, from the file on the command line
_callisto_methods() {
  local -a names
  local i file place=0
  for ((i = 2; i < CURRENT; i++)); do
    case "\${words[i]}" in
      --include|--interface|--timeout|--user|--domain|--password-file|--level|--provider|--kdc) ((i += 1)) ;;
      -*) ;;
      *)
        ((place += 1))
        [[ "$words[1] $place" == ("call 2"|"describe 1") ]] && file="\${(Q)words[i]}"
        ;;
    esac
  done
  [[ -n "$file" ]] || return 1
  names=("\${(@f)$(callisto describe "\${file/#\\~\\//$HOME/}" --names 2>/dev/null)}")
  compadd -a names
}

`,
  fish: `
# Methods, from the file on the command line
function __callisto_methods
    set -l words (commandline -opc)
    set -l command ''
    set -l file ''
    set -l place 0
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --include --interface --timeout --user --domain --password-file --level --provider --kdc
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if test -z "$command"
            set command $word
        else
            set place (math $place + 1)
            if contains -- "$command $place" 'call 2' 'describe 1'
                set file (string replace -r '^~/' "$HOME/" -- $word)
            end
        end
    end
    test -n "$file"; and callisto describe $file --names 2>/dev/null
end
complete -c callisto -n '__fish_seen_subcommand_from call describe' -f -a '(__callisto_methods)'
`
}
