// Scripts that make shells ask this program what may come next.

#include "cli/commands.h"

namespace brokkr::cli {
namespace {

constexpr std::string_view kMarker = "%NAME%";

std::string with_name(std::string script, const std::string& name) {
  for (size_t at = 0; (at = script.find(kMarker, at)) != std::string::npos; at += name.size()) {
    script.replace(at, kMarker.size(), name);
  }
  return script;
}

}  // namespace

std::string completion_script(const std::string& program, std::string_view shell) {
  if (shell == "bash") {
    return with_name(R"sh(
_%NAME%_bash_autocomplete() {
    local cur opts
    COMPREPLY=()
    cur="${COMP_WORDS[COMP_CWORD]}"
    opts=$( ${COMP_WORDS[0]} --completion-bash "${COMP_WORDS[@]:1:$COMP_CWORD}" )
    COMPREPLY=( $(compgen -W "${opts}" -- ${cur}) )
    return 0
}
complete -F _%NAME%_bash_autocomplete -o default %NAME%
)sh", program);
  }
  if (shell == "zsh") {
    return with_name(R"sh(#compdef %NAME%
_%NAME%() {
    local matches=($(${words[1]} --completion-bash "${(@)words[2,$CURRENT]}"))
    compadd -a matches
    if [[ $compstate[nmatches] -eq 0 && $words[$CURRENT] != -* ]]; then
        _files
    fi
}
if [[ "$(basename -- ${(%):-%x})" != "_%NAME%" ]]; then
    compdef _%NAME% %NAME%
fi
)sh", program);
  }
  if (shell == "fish") {
    return with_name(R"sh(function __%NAME%_complete
    set -l words (commandline -opc)
    $words[1] --completion-bash $words[2..-1] (commandline -ct)
end
complete -c %NAME% -a '(__%NAME%_complete)'
)sh", program);
  }
  return {};
}

}  // namespace brokkr::cli
