# What the scripts beside this file share.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'  # a module does not see that of its caller

# Names by which things are found again, and removed.
$script:Names = @{
  FirewallRule = 'MenderGateway-TCP-In'
  HyperVRule   = 'MenderGateway-HyperV-TCP-In'
  Task         = 'MenderGateway port proxy'
  Service      = 'iphlpsvc'                                    # IP Helper: the port proxy is a part of it
  Directory    = Join-Path $env:ProgramFiles 'MenderGateway'   # only administrators write there
  Scripts      = @('Update-PortProxy.ps1', 'MenderGateway.psm1')  # what the task runs, copied to there
}
# The fixed identifier of WSL as a creator of virtual machines.
$script:WslCreator = '{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}'
# One character for each byte: what is not ASCII comes out as it went in, whatever its encoding is. Such texts are compared
# in base64: PowerShell's own comparison passes over some characters.
$script:Latin1 = [System.Text.Encoding]::GetEncoding(28591)

function Get-GatewayNames { $script:Names }
function Get-WslCreator { $script:WslCreator }

# ---- .wslconfig ----

function Read-Config {
  # The file's bytes as a text of Latin1, $null if there is no file.
  param([string]$Path)
  if (-not (Test-Path -LiteralPath $Path)) { return $null }
  $text = $script:Latin1.GetString([System.IO.File]::ReadAllBytes($Path))
  if ($text -cmatch '^(\xFF\xFE|\xFE\xFF)') { throw "$Path is in UTF-16: save it as UTF-8 first" }
  return $text
}

function Write-Config {
  param([string]$Path, [string]$Text)
  [System.IO.File]::WriteAllBytes($Path, $script:Latin1.GetBytes($Text))
}

function ConvertTo-Base64 {
  param([string]$Text)
  return [Convert]::ToBase64String($script:Latin1.GetBytes($Text))
}

function ConvertFrom-Base64 {
  param([string]$Text)
  return $script:Latin1.GetString([Convert]::FromBase64String($Text))
}

function Split-Lines {
  # Lines with what ends them.
  param([string]$Text)
  foreach ($match in [regex]::Matches($Text, '[^\n]*\n|[^\n]+')) { $match.Value }
}

function Find-NetworkingMode {
  # Header: the line of [wsl2], -1 if there is none. Rows: the lines of networkingMode in it.
  param([string[]]$Lines)
  $header = -1
  $rows = @()
  $here = ''
  for ($i = 0; $i -lt $Lines.Count; $i++) {
    if ($Lines[$i] -match '^(\xEF\xBB\xBF)?[ \t]*\[([^\]]*)\]') {
      $here = $Matches[2].Trim()
      if ($here -eq 'wsl2' -and $header -lt 0) { $header = $i }
    }
    elseif ($here -eq 'wsl2' -and $Lines[$i] -match '^[ \t]*networkingMode[ \t]*=') { $rows += $i }
  }
  return @{ Header = $header; Rows = $rows }
}

function Set-Mirrored {
  # The text with networkingMode=mirrored in [wsl2].
  param([string]$Text)
  $lines = @(Split-Lines -Text $Text)
  $found = Find-NetworkingMode -Lines $lines
  $end = "`r`n"
  if ($Text.Contains("`n") -and -not $Text.Contains("`r`n")) { $end = "`n" }
  if ($found.Rows.Count -gt 0) {
    foreach ($i in $found.Rows) { $lines[$i] = $lines[$i] -replace '^([^=]*=[ \t]*)[^\r\n]*', '${1}mirrored' }
    return $lines -join ''
  }
  if ($found.Header -ge 0) {
    $i = $found.Header
    if ($lines[$i] -notmatch '\n\z') { $lines[$i] = $lines[$i] + $end }
    $lines[$i] = $lines[$i] + 'networkingMode=mirrored' + $end
    return $lines -join ''
  }
  if ($Text -match '[^\n]\z') { $Text = $Text + $end }
  return $Text + '[wsl2]' + $end + 'networkingMode=mirrored' + $end
}

function Clear-Mirrored {
  # The text, which somebody has changed since, without what Set-Mirrored made of Before.
  param([string]$Text, [string]$Before)
  $was = @(Split-Lines -Text $Before)
  $then = Find-NetworkingMode -Lines $was
  $lines = @(Split-Lines -Text $Text)
  $found = Find-NetworkingMode -Lines $lines
  foreach ($i in $found.Rows) {
    # Who set another one since wants that.
    if ($lines[$i] -match '^([^=]*=[ \t]*)mirrored[ \t]*([\r\n]*)$') {
      $start = $Matches[1]
      $end = $Matches[2]
      if ($then.Rows.Count -eq 0) { $lines[$i] = '' }
      elseif ($was[$then.Rows[0]] -match '=[ \t]*([^\r\n]*)') { $lines[$i] = $start + $Matches[1] + $end }
    }
  }
  if ($then.Header -lt 0 -and $found.Header -ge 0) {
    $empty = $true
    for ($i = $found.Header + 1; $i -lt $lines.Count; $i++) {
      if ($lines[$i] -match '^[ \t]*\[') { break }
      if ($lines[$i] -match '\S') { $empty = $false }
    }
    if ($empty) { $lines[$found.Header] = '' }
  }
  return $lines -join ''
}

# ---- what others have ----

function Get-PortProxies {
  # Each port proxy of IPv4: where it listens and where it leads. The words around netsh's table are in Windows' language.
  foreach ($line in @(& netsh.exe interface portproxy show v4tov4)) {
    if ($line -match '^\s*(\S+)\s+(\d+)\s+(\S+)\s+(\d+)\s*$') {
      @{ Address = $Matches[1]; Port = [int]$Matches[2]; Target = "$($Matches[3]):$($Matches[4])" }
    }
  }
}

function Assert-NobodyElses {
  # Refuses what would take the place of something that these scripts did not make.
  param([string]$Mode, [int]$Port)
  $names = $script:Names
  if ($Mode -eq 'Nat') {
    foreach ($proxy in @(Get-PortProxies)) {
      if ($proxy.Port -eq $Port) {
        throw "there is a port proxy from $($proxy.Address):$Port to $($proxy.Target) that these scripts did not make. If nobody needs it: netsh interface portproxy delete v4tov4 listenaddress=$($proxy.Address) listenport=$Port"
      }
    }
    if (Get-NetFirewallRule -Name $names.FirewallRule -ErrorAction SilentlyContinue) {
      throw "there is a firewall rule that these scripts did not make. If nobody needs it: Remove-NetFirewallRule -Name '$($names.FirewallRule)'"
    }
    if (Get-ScheduledTask -TaskName $names.Task -TaskPath '\' -ErrorAction SilentlyContinue) {
      throw "there is a scheduled task that these scripts did not make. If nobody needs it: Unregister-ScheduledTask -TaskName '$($names.Task)' -TaskPath '\'"
    }
  }
  elseif (Get-NetFirewallHyperVRule -Name $names.HyperVRule -ErrorAction SilentlyContinue) {
    throw "there is a Hyper-V firewall rule that these scripts did not make. If nobody needs it: Remove-NetFirewallHyperVRule -Name '$($names.HyperVRule)'"
  }
}

# ---- what was done ----

function Read-State {
  # What Enable-MenderGateway.ps1 has done, or has begun, and what was there before; $null if nothing.
  $file = Join-Path $script:Names.Directory 'state.json'
  if (-not (Test-Path -LiteralPath $file)) { return $null }
  return [System.IO.File]::ReadAllText($file) | ConvertFrom-Json
}

function Write-State {
  param($State)
  New-Item -ItemType Directory -Force -Path $script:Names.Directory | Out-Null
  $file = Join-Path $script:Names.Directory 'state.json'
  [System.IO.File]::WriteAllText("$file.new", ($State | ConvertTo-Json))  # UTF-8: paths have users' names in them
  Move-Item -LiteralPath "$file.new" -Destination $file -Force
}

function Remove-State {
  # The files that these scripts have put there, the record last; the directory, if nobody has put something else there.
  foreach ($name in $script:Names.Scripts + @('state.json.new', 'state.json')) {
    $file = Join-Path $script:Names.Directory $name
    if (Test-Path -LiteralPath $file) { Remove-Item -LiteralPath $file -Force }
  }
  if (@(Get-ChildItem -LiteralPath $script:Names.Directory -Force).Count -eq 0) { Remove-Item -LiteralPath $script:Names.Directory -Force }
}

Export-ModuleMember -Function @(
  'Get-GatewayNames', 'Get-WslCreator', 'Read-Config', 'Write-Config', 'ConvertTo-Base64', 'ConvertFrom-Base64', 'Set-Mirrored',
  'Clear-Mirrored', 'Get-PortProxies', 'Assert-NobodyElses', 'Read-State', 'Write-State', 'Remove-State')
